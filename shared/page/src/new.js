// A new job, or one that is like another: files, or a script that is written here, and what the
// server is asked to do with them.
import {html, cls, useEffect, useRef, useState} from './dom.js';
import {call, open, randomKey, send} from './api.js';
import {bytes, short} from './format.js';
import {chosen, dropped, fetchFile, inputOf} from './files.js';
import {Failed} from './parts.js';
import {navigate} from './route.js';

const maxEdited = 256 << 10; // bytes of a file that can be edited here

const empty = {runtime: '', entrypoint: '', name: '', args: '', env: '', stdin: '', memory: '', cpu: '', timeoutSeconds: '',
  retries: '', retryOn: '', labels: '', ttlSecondsAfterFinished: '', profile: '', image: '', queue: '', secrets: []};

const lines = text => text.split('\n').filter(l => l.trim());
const pairs = object => Object.entries(object ?? {}).map(([k, v]) => `${k}=${v}`).join('\n');
const split = text => lines(text).map(l => { const i = l.indexOf('='); return i < 0 ? [l.trim(), ''] : [l.slice(0, i).trim(), l.slice(i + 1)]; });

/** formOf returns what is sent of the fields; those that are empty are left out. */
function formOf(v) {
  const form = new FormData();
  for (const name of ['runtime', 'entrypoint', 'name', 'stdin', 'memory', 'cpu', 'timeoutSeconds', 'retries',
    'ttlSecondsAfterFinished', 'profile', 'image', 'queue']) {
    const value = name === 'stdin' ? v[name] : v[name].trim();
    if (value) form.append(name, value);
  }
  if (lines(v.args).length) form.append('args', JSON.stringify(v.args.split('\n').filter((l, i, all) => l || i < all.length - 1)));
  if (lines(v.env).length) form.append('env', JSON.stringify(Object.fromEntries(split(v.env))));
  if (lines(v.labels).length) form.append('labels', JSON.stringify(Object.fromEntries(split(v.labels))));
  if (v.retryOn.trim()) form.append('retryOn', JSON.stringify(v.retryOn.split(/[\s,]+/).filter(Boolean)));
  for (const s of v.secrets) if (s.name.trim() && s.value) form.append('secret.' + s.name.trim(), s.value);
  return form;
}

/** valuesOf are the fields of another job, or of a template. */
function valuesOf(spec) {
  const text = value => value === undefined || value === null ? '' : String(value);
  return {...empty,
    runtime: spec.inferred?.runtime ? '' : text(spec.runtime), entrypoint: spec.inferred?.entrypoint ? '' : text(spec.entrypoint),
    name: text(spec.name), args: (spec.args ?? []).join('\n'), env: pairs(spec.env), memory: text(spec.memory), cpu: text(spec.cpu),
    timeoutSeconds: text(spec.timeoutSeconds || ''), retries: text(spec.retries || ''), retryOn: (spec.retryOn ?? []).join(' '),
    labels: pairs(spec.labels), profile: text(spec.profile), image: text(spec.image), queue: text(spec.queue?.name ?? spec.queue ?? ''),
    ttlSecondsAfterFinished: spec.ttlSecondsAfterFinished && spec.ttlSecondsAfterFinished !== 86400 ? text(spec.ttlSecondsAfterFinished) : '',
    secrets: (spec.secrets ?? []).map(s => ({name: s.name, value: s.from ? '@' + s.from : ''}))};
}

/** useOther loads the job that a new one is to be like. */
function useOther(id) {
  const [other, setOther] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    if (!id) return;
    const stop = new AbortController();
    const load = async () => {
      const spec = await call(`/artifacts/${id}/index.json`, {signal: stop.signal});
      const entry = spec.files.find(f => f.name === spec.entrypoint);
      let script = null;
      if (entry && entry.size <= maxEdited) {
        const text = await (await open(inputOf(id, entry.name), {signal: stop.signal})).text();
        if (!text.includes('\0') && !text.includes('\ufffd')) script = {name: entry.name, text};
      }
      setOther({id, spec, values: valuesOf(spec), files: spec.files, script});
    };
    load().catch(e => e.name === 'AbortError' || setProblem(e));
    return () => stop.abort();
  }, [id]);
  return {other, problem};
}

export function New({url, ready}) {
  const from = url.searchParams.get('from');
  const {other, problem} = useOther(from);
  if (problem) return html`<${Failed} problem=${problem} />`;
  if (from && !other) return html`<p class="muted">Loading…</p>`;
  return html`<${Form} key=${from} other=${other} ready=${ready} />`;
}

function Form({other, ready}) {
  const [values, setValues] = useState(other?.values ?? empty);
  const [files, setFiles] = useState([]); // {name, file}, of this machine
  const [kept, setKept] = useState(other ? other.files.map(f => ({...f, file: null})) : []); // of the other job
  const [script, setScript] = useState(other?.script ?? {name: '', text: ''});
  const [faults, setFaults] = useState({});
  const [problem, setProblem] = useState('');
  const [sent, setSent] = useState(null); // [bytes, of]
  const [server, setServer] = useState({});
  const [template, setTemplate] = useState(null); // the name to save it under; null: it is run
  const form = useRef();
  const key = useRef(randomKey());
  useEffect(() => { ready(); call('/api/v1/server').then(setServer, () => {}); }, []);
  const set = change => { setValues({...values, ...change}); key.current = randomKey(); };
  const add = list => {
    setFiles(old => [...old.filter(f => !list.some(n => n.name === f.name)), ...list]);
    setKept(old => old.filter(f => !list.some(n => n.name === f.name)));
    setFaults({});
    key.current = randomKey();
  };
  const show = e => {
    const at = {};
    for (const f of e.errors ?? []) (at[fieldOf(f.field)] ??= []).push(f.field === fieldOf(f.field) ? f.message : `${f.field}: ${f.message}`);
    setFaults(at);
    const known = Object.keys(at);
    setProblem(known.length ? '' : e.message);
    requestAnimationFrame(() => (form.current?.querySelector('[aria-invalid="true"]') ?? form.current?.querySelector('[role=alert]'))?.focus());
  };
  const submit = async e => {
    e.preventDefault();
    if (sent) return;
    setProblem('');
    setFaults({});
    setSent([0, 0]);
    try {
      const made = await submitJob({values, files, kept, script, other, template, key: key.current, progress: (n, of) => setSent([n, of])});
      navigate(template === null ? '/ui/jobs/' + made.jobID : '/ui/templates/' + encodeURIComponent(made.name));
    } catch (e) {
      setSent(null);
      show(e);
    }
  };
  const field = {values, set, faults};
  return html`
    <div class="head"><h1>${other ? `Like ${other.spec.name || short(other.id)}` : 'New job'}</h1></div>
    <form class="new" ref=${form} onSubmit=${submit} noValidate aria-label="New job">
      <${Sources} files=${files} setFiles=${setFiles} kept=${kept} setKept=${setKept} add=${add} script=${script}
        setScript=${s => { setScript(s); key.current = randomKey(); }} faults=${faults} />
      <section class="card">
        <${Text} ...${field} name="args" label="Arguments" hint="one in a line" rows="2" />
        <div class="grid">
          <${Text} ...${field} name="name" label="Name" hint="for people; not unique" />
          <${Text} ...${field} name="entrypoint" label="Program" hint="such as main.py, if it does not follow" list=${names(files, kept, script)} />
          <${Choice} ...${field} name="runtime" label="Runtime" options=${[['', 'as it follows from the program'], ...(server.runtimes ??
            ['python', 'node', 'java', 'binary'].map(name => ({name}))).map(r => [r.name, r.name + (r.version ? ' ' + r.version : '')])]} />
          <${Text} ...${field} name="memory" label="Memory" hint="such as 512Mi" />
          <${Text} ...${field} name="cpu" label="CPU" hint="such as 500m or 2" />
          <${Text} ...${field} name="timeoutSeconds" label="Time limit" hint="in seconds" inputmode="numeric" />
        </div>
        <details open=${other !== null || Object.keys(faults).some(f => more.includes(f))}>
          <summary>More: environment, secrets, input, retries, labels</summary>
          <${Text} ...${field} name="env" label="Environment" hint="NAME=value, one in a line" rows="3" />
          <${Secrets} ...${field} known=${server.secrets} />
          <${Text} ...${field} name="stdin" label="Standard input" hint="what the program reads" rows="3" />
          <div class="grid">
            <${Text} ...${field} name="retries" label="Retries" hint="how often it runs again" inputmode="numeric" />
            <${Text} ...${field} name="retryOn" label="Retry on" hint="such as 75 OOMKilled" />
            <${Text} ...${field} name="ttlSecondsAfterFinished" label="Kept for" hint="seconds after its end" inputmode="numeric" />
            ${server.profiles?.length > 0 && html`<${Choice} ...${field} name="profile" label="Profile"
              options=${[['', 'none'], ...server.profiles.map(p => [p.name, p.description ? `${p.name}: ${p.description}` : p.name])]} />`}
            ${!server.runtimes && html`<${Text} ...${field} name="image" label="Image" /><${Text} ...${field} name="queue" label="Queue" />`}
          </div>
          <${Text} ...${field} name="labels" label="Labels" hint="key=value, one in a line" rows="2" />
          <label class="check"><input type="checkbox" checked=${template !== null} onChange=${e => setTemplate(e.target.checked ? values.name || 'template' : null)} />
            <span>Keep it as a template instead of running it</span></label>
          ${template !== null && html`<label class="field"><span>Name of the template</span>
            <input value=${template} onInput=${e => setTemplate(e.target.value)} /></label>`}
        </details>
      </section>
      ${problem && html`<p class="notice bad" role="alert" tabindex="-1">${problem}</p>`}
      <div class="actions">
        <button class="primary" type="submit" disabled=${Boolean(sent)}>${template === null ? 'Run' : 'Save the template'}</button>
        <${Progress} sent=${sent} />
      </div>
    </form>`;
}

const more = ['env', 'secrets', 'stdin', 'retries', 'retryOn', 'ttlSecondsAfterFinished', 'profile', 'image', 'queue', 'labels'];

/** fieldOf is the field here that a field of the server belongs to. */
function fieldOf(name) {
  if (name.startsWith('secret')) return 'secrets';
  if (name.startsWith('archive')) return 'files';
  const base = /^\w+/.exec(name)?.[0] ?? name;
  if (base === 'arg') return 'args';
  return base in empty || base === 'files' ? base : 'files';
}

function Progress({sent}) {
  if (!sent || !sent[1]) return sent ? html`<span class="muted" role="status">Sending…</span>` : null;
  const part = sent[0] / sent[1];
  return html`<progress value=${part} aria-label="Upload"></progress>
    <span class="muted" role="status">${part < 1 ? `${bytes(sent[0])} of ${bytes(sent[1])}` : 'Sent; the server checks it.'}</span>`;
}

const names = (files, kept, script) => [...new Set([...files, ...kept].map(f => f.name).concat(script.text ? script.name || 'main.py' : []))];

/** submitJob sends a form to where it belongs: a rerun needs no files if they are those of the other job. */
async function submitJob({values, files, kept, script, other, template, key, progress}) {
  const form = formOf(values);
  const edited = script.text && (!other?.script || script.text !== other.script.text || script.name !== other.script.name);
  const same = other && !files.length && !edited && kept.length === other.files.length;
  const cleared = other && ['memory', 'cpu', 'timeoutSeconds', 'retries', 'retryOn', 'name', 'args', 'env', 'labels', 'profile', 'image', 'queue',
    'runtime', 'entrypoint'].some(k => other.values[k] && !values[k].trim());
  const headers = {'Idempotency-Key': key};
  if (same && !cleared && template === null) {
    return send(`/api/v1/jobs/${other.id}/rerun`, form, {headers, progress});
  }
  const all = new Map();
  for (const f of kept) {
    const changed = other.script && f.name === other.script.name;
    if (!changed) all.set(f.name, await fetchFile(inputOf(other.id, f.name)));
  }
  for (const f of files) all.set(f.name, f.file);
  if (script.text) all.set(script.name || guess(script.text), new Blob([script.text]));
  for (const [name, blob] of all) {
    const archive = kept.some(f => f.name === name && f.archive) || files.length === 1 && all.size === 1 && /\.(tar|tgz|tar\.gz|tar\.zst|zip)$/.test(name);
    form.append(archive ? 'archive' : 'files', blob, name);
  }
  if (template !== null) {
    return send('/api/v1/templates/' + encodeURIComponent(template), form, {method: 'PUT', headers, progress});
  }
  return send('/api/v1/jobs', form, {headers, progress});
}

/** guess names a script that has no name. */
function guess(text) {
  if (/^#!.*\b(sh|bash)\b/.test(text)) return 'run';
  if (/^#!.*\bnode\b/.test(text) || /\b(const|let|require\(|console\.log)/.test(text) && !/^\s*(import \w+$|def |print\()/m.test(text)) return 'index.js';
  if (/\bpublic\s+(static\s+void\s+main|class)\b/.test(text)) return (/\bclass\s+(\w+)/.exec(text)?.[1] ?? 'Main') + '.java';
  return 'main.py';
}

function Sources({files, setFiles, kept, setKept, add, script, setScript, faults}) {
  const [over, setOver] = useState(false);
  const [busy, setBusy] = useState(false);
  const file = useRef(), folder = useRef();
  const fault = faults.files?.join(' ');
  const drop = async e => {
    e.preventDefault();
    setOver(false);
    setBusy(true);
    try { add(await dropped(e.dataTransfer)); } finally { setBusy(false); }
  };
  const choose = e => { add(chosen(e.target.files)); e.target.value = ''; };
  const all = [...kept, ...files];
  const total = all.reduce((n, f) => n + (f.file?.size ?? f.size), 0);
  return html`<section class=${cls('card drop', over && 'over')} onDragOver=${e => { e.preventDefault(); setOver(true); }}
      onDragLeave=${e => e.currentTarget.contains(e.relatedTarget) || setOver(false)} onDrop=${drop} aria-label="Files">
    <div class="dropzone">
      <p><strong>Drop files or a folder here</strong></p>
      <p class="actions center">
        <button type="button" aria-invalid=${Boolean(fault)} aria-describedby="files-fault" onClick=${() => file.current.click()}>Choose files</button>
        <button type="button" onClick=${() => folder.current.click()}>Choose a folder</button>
      </p>
      <p class="muted">Packages in requirements.txt, pyproject.toml or package.json are installed before the program starts.</p>
      <input ref=${file} class="hidden" type="file" multiple tabindex="-1" aria-hidden="true" data-files onChange=${choose} />
      <input ref=${folder} class="hidden" type="file" webkitdirectory tabindex="-1" aria-hidden="true" data-folder onChange=${choose} />
    </div>
    <p class="fault" id="files-fault" role=${fault ? 'alert' : undefined}>${fault}</p>
    ${busy && html`<p class="muted" role="status">Reading the folder…</p>`}
    ${all.length > 0 && html`<div class="head small"><strong>${all.length === 1 ? 'One file' : all.length + ' files'}, ${bytes(total)}</strong>
      <button type="button" class="link" onClick=${() => { setFiles([]); setKept([]); }}>Remove all</button></div>
      <ul class="files">${all.slice(0, 100).map(f => html`<li key=${f.name}><div class="file"><span class="name">${f.name}</span>
        <span class="size">${bytes(f.file?.size ?? f.size)}</span>
        <button type="button" class="small" aria-label=${'Remove ' + f.name}
          onClick=${() => { setFiles(files.filter(o => o !== f)); setKept(kept.filter(o => o !== f)); }}>Remove</button></div></li>`)}
        ${all.length > 100 && html`<li class="muted">and ${all.length - 100} more</li>`}</ul>`}
    <details class="script" open=${Boolean(script.text)}>
      <summary>${kept.length ? 'Edit the program' : 'Or write a script here'}</summary>
      <label class="field"><span>File name</span><input value=${script.name} placeholder="main.py" onInput=${e => setScript({...script, name: e.target.value})} /></label>
      <label class="field"><span>Script</span><textarea class="code" rows="12" spellcheck="false" value=${script.text}
        onInput=${e => setScript({...script, text: e.target.value})}></textarea></label>
    </details>
  </section>`;
}

function Text({values, set, faults, name, label, hint, rows, inputmode, list}) {
  const fault = faults[name]?.join(' ');
  const shared = {id: 'f-' + name, value: values[name], placeholder: hint, 'aria-invalid': Boolean(fault), 'aria-describedby': fault ? 'fault-' + name : undefined,
    onInput: e => set({[name]: e.target.value})};
  return html`<div class="field"><label for=${'f-' + name}>${label}</label>
    ${rows ? html`<textarea ...${shared} rows=${rows} spellcheck="false"></textarea>` :
      html`<input ...${shared} inputmode=${inputmode} list=${list ? 'l-' + name : undefined} autocomplete="off" />`}
    ${list && html`<datalist id=${'l-' + name}>${list.slice(0, 100).map(o => html`<option value=${o} />`)}</datalist>`}
    ${fault && html`<p class="fault" id=${'fault-' + name}>${fault}</p>`}</div>`;
}

function Choice({values, set, faults, name, label, options}) {
  const fault = faults[name]?.join(' ');
  return html`<div class="field"><label for=${'f-' + name}>${label}</label>
    <select id=${'f-' + name} value=${values[name]} aria-invalid=${Boolean(fault)} aria-describedby=${fault ? 'fault-' + name : undefined}
      onChange=${e => set({[name]: e.target.value})}>${options.map(([v, text]) => html`<option value=${v}>${text}</option>`)}</select>
    ${fault && html`<p class="fault" id=${'fault-' + name}>${fault}</p>`}</div>`;
}

function Secrets({values, set, faults, known}) {
  const list = values.secrets;
  const change = (i, part) => set({secrets: list.map((s, k) => k === i ? {...s, ...part} : s)});
  const fault = faults.secrets?.join(' ');
  return html`<fieldset class="field"><legend>Secrets</legend>
    ${list.map((s, i) => html`<div class="pair" key=${i}>
      <input aria-label="Name of the secret" placeholder="NAME" value=${s.name} autocomplete="off" onInput=${e => change(i, {name: e.target.value})} aria-invalid=${Boolean(fault)} />
      <input aria-label="Value of the secret" placeholder=${known?.length ? 'value, or @' + known[0] : 'value'} type="password" autocomplete="new-password"
        value=${s.value} onInput=${e => change(i, {value: e.target.value})} />
      <button type="button" class="small" aria-label=${'Remove the secret ' + s.name} onClick=${() => set({secrets: list.filter((_, k) => k !== i)})}>Remove</button>
    </div>`)}
    <button type="button" class="small" onClick=${() => set({secrets: [...list, {name: '', value: ''}]})}>Add a secret</button>
    ${fault && html`<p class="fault" role="alert">${fault}</p>`}</fieldset>`;
}
