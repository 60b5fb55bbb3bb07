// The keys of callers, for admins.
import {html, useEffect, useState} from './dom.js';
import {call} from './api.js';
import {moment} from './format.js';
import {Confirm, Copy, Failed} from './parts.js';

export function Keys({ready}) {
  const [list, setList] = useState(null);
  const [problem, setProblem] = useState(null);
  const [made, setMade] = useState(null);
  const [asked, setAsked] = useState(null);
  const load = () => call('/api/v1/keys').then(got => { setList(got.items); ready(); }, setProblem);
  useEffect(() => { load(); }, []);
  if (problem) return html`<${Failed} problem=${problem} />`;
  return html`
    <div class="head"><h1>Keys</h1></div>
    ${made && html`<section class="card made" role="status"><h2>The key of ${made.owner}</h2>
      <p>Copy it now: the server keeps only its hash, and cannot show it again.</p>
      <${Copy} text=${made.key} label="the key" /><p><button onClick=${() => setMade(null)}>I have copied it</button></p></section>`}
    <${Make} done=${key => { setMade(key); load(); }} />
    ${list && html`<table class="jobs">
      <thead><tr><th scope="col">Key</th><th scope="col">Owner</th><th scope="col">Role</th><th scope="col" class="number">Made</th>
        <th scope="col" class="number">Valid until</th><th scope="col"><span class="hidden-text">Actions</span></th></tr></thead>
      <tbody>${list.map(k => html`<tr key=${k.id}>
        <td class="what">${k.name}<span class="sub"><code>${k.id}</code></span></td><td>${k.owner}</td><td>${k.role}</td>
        <td class="number">${moment(k.createdAt)}</td><td class="number">${k.expiresAt ? moment(k.expiresAt) : 'revoked'}</td>
        <td class="number"><button class="small" onClick=${() => setAsked(k)} aria-label=${'Revoke ' + k.name}>Revoke</button></td></tr>`)}</tbody>
    </table>`}
    ${asked && html`<${Confirm} title="Revoke this key?" yes="Revoke it" close=${() => setAsked(null)}
      text=${`Who uses the key ${asked.name} of ${asked.owner} is refused from now on.`}
      act=${async () => { await call('/api/v1/keys/' + asked.id, {method: 'DELETE'}); await load(); }} />`}`;
}

function Make({done}) {
  const none = {name: '', owner: '', role: 'user', expiresIn: ''};
  const [v, setV] = useState(none);
  const [faults, setFaults] = useState({});
  const [problem, setProblem] = useState('');
  const make = async e => {
    e.preventDefault();
    setFaults({});
    setProblem('');
    try {
      done(await call('/api/v1/keys', {method: 'POST', json: Object.fromEntries(Object.entries(v).filter(([, x]) => x))}));
      setV(none);
    } catch (e) {
      const at = {};
      for (const f of e.errors ?? []) at[f.field] = f.message;
      setFaults(at);
      if (!e.errors?.length) setProblem(e.message);
    }
  };
  const input = (name, label, hint) => html`<div class="field"><label for=${'k-' + name}>${label}</label>
    <input id=${'k-' + name} value=${v[name]} placeholder=${hint} onInput=${e => setV({...v, [name]: e.target.value})} autocomplete="off"
      aria-invalid=${Boolean(faults[name])} aria-describedby=${faults[name] ? 'kf-' + name : undefined} />
    ${faults[name] && html`<p class="fault" id=${'kf-' + name} role="alert">${faults[name]}</p>`}</div>`;
  return html`<form class="card" onSubmit=${make} aria-label="Make a key"><h2>Make a key</h2>
    <div class="grid">
      ${input('name', 'Name', 'such as ann-laptop')}
      ${input('owner', 'Owner', 'the name, if it is left out')}
      <div class="field"><label for="k-role">Role</label><select id="k-role" value=${v.role} onChange=${e => setV({...v, role: e.target.value})}>
        <option value="user">user: runs own jobs</option><option value="read">read: looks at own jobs</option><option value="admin">admin: everything</option></select></div>
      ${input('expiresIn', 'Valid for', 'such as 90d; for ever if it is left out')}
    </div>
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    <div class="actions"><button class="primary">Make it</button></div></form>`;
}
