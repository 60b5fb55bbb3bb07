// Templates: jobs that are kept under a name.
import {html, useEffect, useState} from './dom.js';
import {call, randomKey, send} from './api.js';
import {bytes, duration, moment, quote} from './format.js';
import {Confirm, Copy, Failed} from './parts.js';
import {navigate} from './route.js';

export function Templates({name, caller, ready}) {
  return name ? html`<${Template} name=${name} caller=${caller} ready=${ready} key=${name} />` : html`<${List} caller=${caller} ready=${ready} />`;
}

function List({caller, ready}) {
  const [list, setList] = useState(null);
  const [next, setNext] = useState('');
  const [problem, setProblem] = useState(null);
  const load = async after => {
    const got = await call('/api/v1/templates?limit=100' + (after ? '&pageToken=' + encodeURIComponent(after) : ''));
    setList(old => after ? [...old, ...got.items] : got.items);
    setNext(got.nextPageToken || '');
    ready();
  };
  useEffect(() => { load('').catch(setProblem); }, []);
  const owners = caller?.role === 'admin' && caller.via !== 'open';
  return html`
    <div class="head"><h1>Templates</h1></div>
    ${problem && html`<${Failed} problem=${problem} />`}
    ${list?.length === 0 && html`<div class="card empty"><h2>There are no templates yet</h2>
      <p>A template is a job that is kept under a name, to be started by hand or by an event. Keep one at <a href="/ui/new">New job</a>, under More.</p></div>`}
    ${list?.length > 0 && html`<table class="jobs">
      <thead><tr><th scope="col">Template</th><th scope="col">Runtime</th>${owners && html`<th scope="col">Owner</th>`}
        <th scope="col" class="number">Version</th><th scope="col" class="number">Made</th></tr></thead>
      <tbody>${list.map(t => html`<tr key=${t.name}>
        <td class="what"><a href=${'/ui/templates/' + encodeURIComponent(t.name)}>${t.name}</a></td><td>${t.runtime}</td>
        ${owners && html`<td>${t.owner}</td>`}<td class="number">${t.version}</td><td class="number">${moment(t.createdAt)}</td></tr>`)}</tbody>
    </table>`}
    ${next && html`<p class="center"><button onClick=${() => load(next)}>Show more</button></p>`}`;
}

function Template({name, caller, ready}) {
  const [t, setT] = useState(null);
  const [problem, setProblem] = useState(null);
  const [args, setArgs] = useState('');
  const [fault, setFault] = useState('');
  const [asked, setAsked] = useState(false);
  const path = '/api/v1/templates/' + encodeURIComponent(name);
  useEffect(() => { call(path).then(got => { setT(got); ready(); }, setProblem); }, [name]);
  if (problem) return html`<${Failed} problem=${problem} />`;
  if (!t) return html`<p class="muted">Loading…</p>`;
  const start = async e => {
    e.preventDefault();
    const form = new FormData();
    for (const arg of args.split('\n').filter(Boolean)) form.append('arg', arg);
    setFault('');
    try {
      const made = await send(path + '/jobs', form, {headers: {'Idempotency-Key': randomKey()}});
      navigate('/ui/jobs/' + made.jobID);
    } catch (e) { setFault(e.message); }
  };
  const mayChange = caller?.role !== 'read';
  const rows = [['Version', t.version], ['Owner', t.owner], ['Made', moment(t.createdAt)], ['Runtime', t.runtime],
    ['Program', html`<code>${[t.entrypoint, ...t.args ?? []].map(quote).join(' ')}</code>`], ['CPU', t.cpu], ['Memory', t.memory],
    ['Time limit', t.timeoutSeconds && duration(t.timeoutSeconds * 1000)], ['Retries', t.retries], ['Image', t.image], ['Profile', t.profile],
    ['Started by events of type', t.eventTypes?.join(', ')], ['Started by events from', t.eventSources?.join(', ')],
    ['Files', html`<ul class="plain">${(t.files ?? []).slice(0, 20).map(f => html`<li>${f.name} <span class="muted">${bytes(f.size)}</span></li>`)}</ul>`]];
  return html`
    <div class="head"><h1>${t.name}</h1><span class="grow"></span>
      ${mayChange && html`<button onClick=${() => setAsked(true)}>Delete</button>`}</div>
    <div class="columns">
      <form class="card main" onSubmit=${start} aria-label="Start a job">
        <h2>Start a job</h2>
        <div class="field"><label for="t-args">More arguments</label><textarea id="t-args" rows="3" placeholder="one in a line; they come after those of the template"
          value=${args} onInput=${e => setArgs(e.target.value)}></textarea></div>
        ${fault && html`<p class="bad" role="alert">${fault}</p>`}
        ${mayChange ? html`<div class="actions"><button class="primary">Run</button></div>` : html`<p class="muted">Your role does not start jobs.</p>`}
        <p><a href=${'/ui/?label=' + encodeURIComponent('go-job-orchestrator/template=' + t.name)}>Its jobs</a></p>
        <${Copy} text=${`gojob template run ${t.name}`} label="start it with gojob" />
      </form>
      <aside aria-label="Details"><section class="card"><dl>${rows.filter(r => r[1]).map(([k, v]) => html`<dt>${k}</dt><dd>${v}</dd>`)}</dl></section></aside>
    </div>
    ${asked && html`<${Confirm} title="Delete this template?" yes="Delete it" close=${() => setAsked(false)}
      text="All its versions are removed. Its jobs stay." act=${async () => { await call(path, {method: 'DELETE'}); navigate('/ui/templates'); }} />`}`;
}
