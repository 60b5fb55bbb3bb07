// One job: how it fares, its log, what it has made, and what can be done with it.
import {html, useEffect, useState} from './dom.js';
import {call} from './api.js';
import {follow} from './events.js';
import {bytes, duration, explain, isOver, moment, quote, ran, short, titleOf} from './format.js';
import {Bar, Confirm, Copy, Dialog, Failed, Phase, useNow} from './parts.js';
import {Log} from './log.js';
import {Outputs} from './preview.js';
import {navigate} from './route.js';

/** useJob returns a job, and keeps it up to date until it is over. */
function useJob(id, ready) {
  const [job, setJob] = useState(null);
  const [problem, setProblem] = useState(null);
  const [live, setLive] = useState('');
  useEffect(() => {
    const stop = new AbortController();
    let end = () => {};
    const path = '/api/v1/jobs/' + id;
    const load = async () => {
      const got = await call(path, {signal: stop.signal});
      setJob(got);
      return got;
    };
    const begin = async () => {
      const got = await load();
      ready();
      if (isOver(got) || stop.signal.aborted) return;
      end = follow(path + '/events', {
        take: e => {
          const now = JSON.parse(e.data);
          setJob(old => ({...now, queue: now.queue ?? (now.phase === 'Pending' ? old.queue : undefined)}));
          if (!isOver(now)) return true;
          load().catch(() => {}); // what the event leaves out
          return false;
        },
        state: s => setLive(s),
      });
    };
    begin().catch(e => e.name === 'AbortError' || setProblem(e));
    return () => { stop.abort(); end(); };
  }, [id]);
  return {job, problem, live, setJob};
}

export function Job({id, url, caller, guest, ready}) {
  const {job, problem, live, setJob} = useJob(id, ready);
  const over = job && isOver(job);
  const now = useNow(job && !over);
  useEffect(() => { if (job) document.title = `${titleOf(job)} ${job.phase} – Jobs`; }, [job]);
  if (problem) return html`<${Failed} problem=${problem} /><p><a href="/ui/">All jobs</a></p>`;
  if (!job) return html`<p class="muted">Loading…</p>`;
  const {sentence, detail} = explain(job);
  const at = url.searchParams.get('at');
  const mayChange = !guest && caller?.role !== 'read';
  return html`
    <div class="job">
      <div class="head">
        <h1>${titleOf(job)}</h1>
        <${Phase} job=${job} />
        <span class="grow"></span>
        ${mayChange && html`<${Actions} job=${job} setJob=${setJob} />`}
      </div>
      <p class="sentence" role="status">${sentence}</p>
      ${detail && html`<p class="detail">${detail}</p>`}
      ${live === 'broken' && html`<p class="notice" role="status">The connection was lost. Trying again.</p>`}
      ${live?.status && html`<p class="notice bad" role="alert">${live.message}</p>`}
      <div class="columns">
        <div class="main">
          ${over && html`<${Outputs} job=${job} />`}
          <${Log} job=${job} at=${at === null ? undefined : Number(at)} />
        </div>
        <aside aria-label="Details">
          <${Times} job=${job} now=${now} />
          <${Facts} job=${job} />
          <${Attempts} job=${job} />
          <${Lines} job=${job} />
        </aside>
      </div>
    </div>`;
}

function Times({job, now}) {
  return html`<section class="card">
    <${Bar} job=${job} now=${now} />
    <dl>
      <dt>Submitted</dt><dd>${moment(job.createdAt)}</dd>
      ${job.startedAt && html`<dt>Started</dt><dd>${moment(job.startedAt)}</dd>`}
      ${job.startedAt && html`<dt>${isOver(job) ? 'Ran' : 'Running for'}</dt><dd>${duration(ran(job, now))}</dd>`}
      ${job.exitCode !== undefined && html`<dt>Exit code</dt><dd>${job.exitCode}</dd>`}
      ${job.expiresAt && html`<dt>Kept until</dt><dd>${moment(job.expiresAt)}</dd>`}
    </dl>
  </section>`;
}

function Facts({job}) {
  const rows = [
    ['ID', html`<code>${job.jobID}</code>`],
    ['Owner', job.owner],
    ['Runtime', job.runtime],
    ['Program', html`<code>${[job.entrypoint, ...job.args ?? []].map(quote).join(' ')}</code>`],
    ['CPU', job.cpu], ['Memory', job.memory],
    ['Time limit', job.timeoutSeconds && duration(job.timeoutSeconds * 1000)],
    ['Retries', job.retries && job.retries + (job.retryOn ? ` on ${job.retryOn.join(', ')}` : '')],
    ['Image', job.image], ['Profile', job.profile], ['Queue', job.queue?.name],
    ['Secrets', job.secrets?.map(s => s.name).join(', ')],
    ['Labels', job.labels && Object.entries(job.labels).map(([k, v]) =>
      html`<a class="label" href=${'/ui/?label=' + encodeURIComponent(`${k}=${v}`)}>${k}=${v}</a> `)],
    ['Template', job.template && html`<a href=${'/ui/templates/' + job.template.name}>${job.template.name}</a>, version ${job.template.version}`],
    ['Again from', job.rerunOf && html`<a href=${'/ui/jobs/' + job.rerunOf}>${short(job.rerunOf)}</a>`],
    ['Files', job.files?.length && html`<${Files} files=${job.files} />`],
  ];
  return html`<section class="card"><h2>Job</h2><dl>${rows.filter(r => r[1]).map(([k, v]) => html`<dt>${k}</dt><dd>${v}</dd>`)}</dl></section>`;
}

function Files({files}) {
  const few = files.slice(0, 8);
  return html`<ul class="plain">${few.map(f => html`<li>${f.name} <span class="muted">${bytes(f.size)}</span></li>`)}
    ${files.length > few.length && html`<li class="muted">and ${files.length - few.length} more</li>`}</ul>`;
}

function Attempts({job}) {
  const list = job.attempts ?? [];
  if (list.length < 2) return null;
  return html`<section class="card"><h2>Attempts</h2><ol class="plain">
    ${list.map(a => html`<li>${a.number}. ${a.reason || 'Running'}${a.exitCode ? `, exit code ${a.exitCode}` : ''}
      <span class="muted"> ${a.finishedAt ? duration(Date.parse(a.finishedAt) - Date.parse(a.startedAt)) : ''}</span>
      ${a.message && html`<div class="muted">${a.message}</div>`}</li>`)}
  </ol></section>`;
}

/** Lines are the same in a terminal. */
function Lines({job}) {
  const flags = [
    job.name && ['--name', job.name], job.cpu && ['--cpu', job.cpu], job.memory && ['--memory', job.memory],
    job.timeoutSeconds && ['--timeout', job.timeoutSeconds + 's'], job.retries && ['--retries', String(job.retries)],
    job.profile && ['--profile', job.profile], !job.inferred?.runtime && ['--runtime', job.runtime],
  ].filter(Boolean).flat();
  const one = job.files?.length === 1;
  const what = one ? [job.entrypoint] : [...(job.inferred?.entrypoint ? [] : ['--entrypoint', job.entrypoint]), '.'];
  const gojob = ['gojob', 'run', ...flags, ...what, ...job.args ?? []].map(quote).join(' ');
  const fields = [
    ...(job.files ?? []).slice(0, 20).map(f => f.archive ? 'archive=@' + f.name :
      f.name.includes('/') ? `files=@${f.name};filename=${f.name}` : 'files=@' + f.name),
    !job.inferred?.runtime && 'runtime=' + job.runtime, !job.inferred?.entrypoint && 'entrypoint=' + job.entrypoint,
    job.name && 'name=' + job.name, job.cpu && 'cpu=' + job.cpu, job.memory && 'memory=' + job.memory,
    job.timeoutSeconds && 'timeoutSeconds=' + job.timeoutSeconds, job.retries && 'retries=' + job.retries,
    job.profile && 'profile=' + job.profile, ...(job.args ?? []).map(a => 'arg=' + a),
  ].filter(Boolean);
  const key = document.documentElement.dataset.session === 'cookie' ? ['-H "Authorization: Bearer $KEY"'] : [];
  const curl = ['curl', ...key, ...fields.map(f => '-F ' + quote(f)), location.origin + '/api/v1/jobs'].join(' ');
  return html`<section class="card"><h2>In a terminal</h2>
    <${Copy} text=${gojob} label="run the same with gojob" />
    <${Copy} text=${curl} label="run the same with curl" />
    <${Copy} text=${`gojob logs -f ${short(job.jobID)}`} label="follow the log with gojob" />
  </section>`;
}

function Actions({job, setJob}) {
  const [asked, setAsked] = useState('');
  const [problem, setProblem] = useState('');
  const path = '/api/v1/jobs/' + job.jobID;
  const over = isOver(job);
  const again = async () => {
    setProblem('');
    try {
      const made = await call(path + '/rerun', {method: 'POST', body: new FormData()});
      navigate('/ui/jobs/' + made.jobID);
    } catch (e) { setProblem(e.message); }
  };
  const close = () => setAsked('');
  const cancel = async () => {
    await call(path + '/cancel', {method: 'POST'});
    setJob(await call(path));
  };
  const remove = async () => {
    await call(path, {method: 'DELETE'});
    navigate('/ui/');
  };
  return html`<div class="actions">
    ${!over && html`<button class="danger" onClick=${() => setAsked('cancel')}>Cancel</button>`}
    <button onClick=${again}>Run again</button>
    <a class="button" href=${'/ui/new?from=' + job.jobID}>Edit and run</a>
    <button onClick=${() => setAsked('share')}>Share</button>
    <button onClick=${() => setAsked('delete')}>Delete</button>
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    ${asked === 'cancel' && html`<${Confirm} title="Cancel this job?" yes="Cancel the job" act=${cancel} close=${close}
      text="The program is stopped. Its log and its record stay." />`}
    ${asked === 'delete' && html`<${Confirm} title="Delete this job?" yes="Delete it" act=${remove} close=${close}
      text=${`The program is stopped if it runs. Its files, log and outputs are removed, and cannot be brought back.`} />`}
    ${asked === 'share' && html`<${Share} path=${path} id=${job.jobID} close=${close} />`}
  </div>`;
}

function Share({path, id, close}) {
  const [time, setTime] = useState('24h');
  const [made, setMade] = useState(null);
  const [problem, setProblem] = useState('');
  const make = async () => {
    setProblem('');
    try {
      setMade(await call(path + '/share', {method: 'POST', json: {expiresIn: time}}));
    } catch (e) { setProblem(e.message); }
  };
  return html`<${Dialog} title="Share this job" close=${close}>
    <p>Who has the link sees how the job fares, its log and its outputs. They can change nothing. A link cannot be taken back.</p>
    <label class="field"><span>Valid for</span><select value=${time} onChange=${e => { setTime(e.target.value); setMade(null); }}>
      <option value="1h">an hour</option><option value="24h">a day</option><option value="168h">a week</option><option value="720h">30 days</option>
    </select></label>
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    ${made && html`<${Copy} label="the link" text=${`${location.origin}/ui/jobs/${id}#token=${made.token}`} />`}
    <div class="actions">${!made && html`<button class="primary" onClick=${make}>Make a link</button>`}<button onClick=${close}>Close</button></div>
  <//>`;
}
