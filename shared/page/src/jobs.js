// The list of jobs, newest first, which changes while it is looked at.
import {html, useEffect, useMemo, useState} from './dom.js';
import {call} from './api.js';
import {follow} from './events.js';
import {ago, duration, explain, moment, ran, short} from './format.js';
import {Bar, Failed, Phase, isActive, useNow} from './parts.js';
import {navigate} from './route.js';

const phases = ['Pending', 'Running', 'Succeeded', 'Failed', 'Cancelled'];
const filters = ['phase', 'name', 'label', 'owner'];
const pageSize = 50;
// A change may be recorded while the list is made; ms.
const overlap = 5000;

/** fits reports whether a job belongs to the list that is filtered so. */
function fits(job, q) {
  const labels = q.getAll('label').map(l => l.split('='));
  return (!q.get('phase') || job.phase === q.get('phase')) && (!q.get('name') || job.name === q.get('name')) &&
    (!q.get('owner') || job.owner === q.get('owner')) && labels.every(([k, v]) => job.labels?.[k] === v);
}

/** merge returns the list with a job as it is now. */
function merge(list, job, q, last) {
  const rest = list.filter(j => j.jobID !== job.jobID);
  const known = rest.length < list.length;
  if (!fits(job, q) || !known && last && job.jobID > last) return rest; // it is on a page that is not shown
  const at = rest.findIndex(j => j.jobID > job.jobID); // IDs ascend from the newest on
  rest.splice(at < 0 ? rest.length : at, 0, job);
  return rest;
}

/** useJobs returns the list for a query, and keeps it up to date. */
function useJobs(search, ready) {
  const [list, setList] = useState(null);
  const [next, setNext] = useState('');
  const [problem, setProblem] = useState(null);
  const [live, setLive] = useState('');
  const query = useMemo(() => {
    const q = new URLSearchParams();
    for (const name of filters) for (const v of search.getAll(name)) if (v) q.append(name, v);
    return q;
  }, [search.toString()]);
  const load = async (after, signal) => {
    const q = new URLSearchParams(query);
    q.set('limit', pageSize);
    if (after) q.set('pageToken', after);
    return call('/api/v1/jobs?' + q, {signal});
  };
  useEffect(() => {
    const stop = new AbortController();
    let end = () => {};
    const begin = async () => {
      const got = await load('', stop.signal);
      setProblem(null);
      setList(got.items);
      setNext(got.nextPageToken || '');
      ready();
      let last = got.nextPageToken;
      const owner = query.get('owner');
      end = follow('/api/v1/jobs/events' + (owner ? '?owner=' + encodeURIComponent(owner) : ''), {
        last: String((got.at || Date.now()) - overlap),
        take: e => {
          const job = JSON.parse(e.data);
          setList(now => e.type === 'removed' ? now.filter(j => j.jobID !== job.jobID) : merge(now, job, query, last));
        },
        state: s => setLive(s),
      });
      if (stop.signal.aborted) end();
    };
    begin().catch(e => e.name === 'AbortError' || setProblem(e));
    return () => { stop.abort(); end(); };
  }, [query]);
  const more = async () => {
    const got = await load(next);
    setList(now => [...now, ...got.items.filter(j => !now.some(k => k.jobID === j.jobID))]);
    setNext(got.nextPageToken || '');
  };
  return {list, next, problem, live, more};
}

export function Jobs({url, caller, ready}) {
  const {list, next, problem, live, more} = useJobs(url.searchParams, ready);
  const active = list?.some(isActive);
  const now = useNow(active);
  const showOwner = caller?.role === 'admin' && caller.via !== 'open';
  const set = change => {
    const q = new URLSearchParams(url.search);
    for (const [k, v] of Object.entries(change)) {
      q.delete(k);
      for (const one of [v].flat()) if (one) q.append(k, one);
    }
    navigate('/ui/' + (q.size ? '?' + q : ''));
  };
  const filtered = filters.some(f => url.searchParams.get(f));
  return html`
    <div class="head">
      <h1>Jobs</h1>
      <${Counts} list=${list} caller=${caller} />
      <span class="grow"></span>
      ${caller?.role !== 'read' && html`<a class="button primary" href="/ui/new">New job</a>`}
    </div>
    <${Filters} search=${url.searchParams} set=${set} owner=${showOwner} />
    ${live === 'broken' && html`<p class="notice" role="status">The connection was lost. Trying again; the list is from before.</p>`}
    ${live?.status && html`<p class="notice bad" role="alert">${live.message}</p>`}
    ${problem && html`<${Failed} problem=${problem} />`}
    ${list && list.length === 0 && html`<${Empty} filtered=${filtered} set=${set} />`}
    ${list && list.length > 0 && html`<${List} list=${list} now=${now} owner=${showOwner} />`}
    ${next && html`<p class="center"><button onClick=${more}>Show older jobs</button></p>`}`;
}

/** Counts says how many jobs run, of how many that may, and how many wait. */
function Counts({list, caller}) {
  const [most, setMost] = useState(0);
  useEffect(() => { if (caller) call('/api/v1/server').then(s => setMost(s.maxConcurrentJobs ?? 0), () => {}); }, [caller]);
  if (!list) return null;
  const count = phase => list.filter(j => j.phase === phase).length;
  const running = count('Running'), pending = count('Pending');
  const words = [(running || most) && `${running}${most ? ' of ' + most : ''} running`, pending && `${pending} waiting`];
  return html`<span class="muted" role="status">${words.filter(Boolean).join(', ')}</span>`;
}

function Filters({search, set, owner}) {
  return html`<form class="filters" role="search" aria-label="Jobs" onSubmit=${e => e.preventDefault()}>
    <div class="segments" role="group" aria-label="Phase">
      ${['', ...phases].map(p => html`<button type="button" aria-pressed=${(search.get('phase') || '') === p}
        onClick=${() => set({phase: p})}>${p || 'All'}</button>`)}
    </div>
    <${Field} name="name" label="Name" search=${search} set=${set} />
    <${Field} name="label" label="Label" hint="key=value" search=${search} set=${set} />
    ${owner && html`<${Field} name="owner" label="Owner" search=${search} set=${set} />`}
  </form>`;
}

function Field({name, label, hint, search, set}) {
  const value = search.getAll(name).join(' ');
  const change = e => {
    const v = e.target.value.trim();
    set({[name]: name === 'label' ? v.split(/\s+/) : v});
  };
  return html`<input type="search" aria-label=${label} placeholder=${hint ? `${label}: ${hint}` : label} value=${value} onChange=${change} />`;
}

function Empty({filtered, set}) {
  if (filtered) {
    return html`<div class="card empty"><h2>No job is like that</h2>
      <p><button onClick=${() => set({phase: '', name: '', label: '', owner: ''})}>Show all jobs</button></p></div>`;
  }
  return html`<div class="card empty"><h2>There are no jobs yet</h2>
    <p>Drop a script or a folder at <a href="/ui/new">New job</a>, or send one from a terminal:</p>
    <pre>echo 'print("hello")' > hello.py
curl -F files=@hello.py ${location.origin}/api/v1/jobs</pre></div>`;
}

function List({list, now, owner}) {
  const scale = Math.max(...list.map(j => (j.finishedAt ? Date.parse(j.finishedAt) : now) - Date.parse(j.createdAt)), 1);
  return html`<table class="jobs">
    <thead><tr><th scope="col">Job</th><th scope="col">Phase</th>${owner && html`<th scope="col">Owner</th>`}
      <th scope="col" class="wide">Waited and ran</th><th scope="col" class="number">Took</th><th scope="col" class="number">Submitted</th></tr></thead>
    <tbody>${list.map(j => html`<${Row} key=${j.jobID} job=${j} now=${now} owner=${owner} scale=${scale} />`)}</tbody>
  </table>`;
}

function Row({job, now, owner, scale}) {
  const failed = job.phase === 'Failed';
  return html`<tr>
    <td class="what"><a href=${'/ui/jobs/' + job.jobID}>${job.name || short(job.jobID)}</a>
      <span class="sub"><span>${job.name ? short(job.jobID) + ' · ' : ''}${job.runtime}</span>${labels(job)}</span></td>
    <td class="how"><${Phase} job=${job} />${failed && html`<span class="sub" title=${explain(job).sentence}>${why(job)}</span>`}</td>
    ${owner && html`<td class="owner">${job.owner}</td>`}
    <td class="wide"><${Bar} job=${job} now=${now} scale=${scale} /></td>
    <td class="number took">${job.startedAt ? duration(ran(job, now)) : '–'}</td>
    <td class="number when" title=${moment(job.createdAt)}>${ago(Date.now() - Date.parse(job.createdAt))}</td>
  </tr>`;
}

const why = job => job.reason === 'Error' ? `exit code ${job.exitCode}` : job.reason;

function labels(job) {
  return Object.entries(job.labels ?? {}).slice(0, 3).map(([k, v]) => html`<span class="label">${k}=${v}</span>`);
}
