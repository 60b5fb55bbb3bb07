// Outputs of a job, and previews of those that can be shown as text or as an image. Nothing that a
// program has written is ever a document here.
import {html, useEffect, useState} from './dom.js';
import {call, open, isShared} from './api.js';
import {bytes} from './format.js';
import {fetchFile, pathOf, save} from './files.js';

const maxText = 256 << 10; // bytes of a text that are shown
const maxImage = 5 << 20;
const maxRows = 200;
const streams = ['stdout.log', 'stderr.log'];
const images = ['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif', 'image/bmp'];

/** kindOf says how an output can be shown: image, csv, json, text, or not at all. */
function kindOf(file) {
  const type = (file.contentType || '').split(';')[0];
  const end = /\.([^./]+)$/.exec(file.name)?.[1].toLowerCase() ?? '';
  if (images.includes(type)) return file.size <= maxImage ? 'image' : '';
  if (end === 'csv' || end === 'tsv' || type === 'text/csv') return 'csv';
  if (end === 'json' || type === 'application/json') return 'json';
  const text = type.startsWith('text/') || type === 'image/svg+xml' || type === 'application/xml' ||
    ['log', 'txt', 'md', 'yaml', 'yml', 'toml', 'ini', 'jsonl', 'ndjson', 'xml', 'svg', 'html', 'py', 'js', 'java', 'sh'].includes(end);
  return text ? 'text' : '';
}

/** Outputs lists what a job has made. */
export function Outputs({job}) {
  const [list, setList] = useState(null);
  const [problem, setProblem] = useState(null);
  const [shown, setShown] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    call(`/outputs/${job.jobID}`, {signal: stop.signal}).then(got => {
      setList(got.items);
      const picture = got.items.find(f => kindOf(f) === 'image'); // it is what people look for
      setShown(picture?.name ?? null);
    }, e => e.name === 'AbortError' || setProblem(e));
    return () => stop.abort();
  }, [job.jobID]);
  if (problem) return html`<section class="card"><h2>Outputs</h2><p class="bad">${problem.message}</p></section>`;
  if (!list) return null;
  const logs = list.filter(f => streams.includes(f.name) && f.size);
  const own = list.filter(f => !streams.includes(f.name));
  return html`
    <section class="card" aria-label="Outputs">
      <div class="head"><h2>Outputs</h2>${own.length > 1 && html`<${Archive} job=${job} />`}</div>
      ${own.length === 0 && html`<p class="muted">There are none: the program wrote nothing into $OUTPUT_DIR.</p>`}
      <ul class="files">
        ${[...own, ...logs].map(f => html`<li key=${f.name}>
          <div class="file">
            ${kindOf(f) ?
              html`<button class="link name" aria-expanded=${shown === f.name} onClick=${() => setShown(shown === f.name ? null : f.name)}>${f.name}</button>` :
              html`<span class="name">${f.name}</span>`}
            <span class="size">${bytes(f.size)}</span>
            <${Save} job=${job} file=${f} />
          </div>
          ${shown === f.name && html`<${Preview} job=${job} file=${f} />`}
        </li>`)}
      </ul>
      ${job.notCollected && html`<p class="muted">Not stored, because they are not in $OUTPUT_DIR: ${job.notCollected.names.join(', ')}${
        job.notCollected.count > job.notCollected.names.length ? ' and others' : ''}.</p>`}
    </section>`;
}

/** Link saves a path under a name, also where that needs a token besides the cookie. */
function Link({job, path, name, children, label}) {
  const [busy, setBusy] = useState(false);
  const fetchIt = async e => {
    if (document.documentElement.dataset.session === 'cookie' && !isShared(job.jobID)) return; // the browser does it
    e.preventDefault();
    setBusy(true);
    try { save(await fetchFile(path), name); } finally { setBusy(false); }
  };
  return html`<a class="button small" href=${path} download=${name} aria-label=${label} aria-busy=${busy} onClick=${fetchIt}>${children}</a>`;
}

const Save = ({job, file}) =>
  html`<${Link} job=${job} path=${pathOf(job.jobID, file.name)} name=${file.name.split('/').pop()} label=${'Download ' + file.name}>Download<//>`;

const Archive = ({job}) =>
  html`<${Link} job=${job} path=${`/outputs/${job.jobID}?format=zip`} name=${job.jobID.slice(0, 12) + '.zip'}>Download all<//>`;

function Preview({job, file}) {
  const [got, setGot] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    let url;
    load(job.jobID, file, stop.signal).then(value => { url = value.url; setGot(value); },
      e => e.name === 'AbortError' || setGot({problem: e.message}));
    return () => { stop.abort(); if (url) URL.revokeObjectURL(url); };
  }, [file.name]);
  if (!got) return html`<p class="muted">Loading…</p>`;
  if (got.problem) return html`<p class="bad">${got.problem}</p>`;
  if (got.url) return html`<div class="preview image"><img src=${got.url} alt=${file.name} /></div>`;
  if (got.rows) return html`<${Table} rows=${got.rows} cut=${got.cut} name=${file.name} />`;
  return html`<div class="preview" tabindex="0" role="region" aria-label=${file.name}><pre>${got.text}</pre>${
    got.cut && html`<p class="muted">This is the begin; download it to see all.</p>`}</div>`;
}

function Table({rows, cut, name}) {
  const [head, ...body] = rows;
  return html`<div class="preview" tabindex="0" role="region" aria-label=${name}>
    <table class="data"><thead><tr>${head?.map(c => html`<th scope="col">${c}</th>`)}</tr></thead>
    <tbody>${body.map(r => html`<tr>${r.map(c => html`<td>${c}</td>`)}</tr>`)}</tbody></table>
    ${cut && html`<p class="muted">These are the first ${body.length} rows.</p>`}</div>`;
}

async function load(id, file, signal) {
  const kind = kindOf(file), path = pathOf(id, file.name);
  if (kind === 'image') {
    const blob = await fetchFile(path, signal);
    return {url: URL.createObjectURL(new Blob([blob], {type: file.contentType.split(';')[0]}))};
  }
  const headers = file.size > maxText ? {Range: `bytes=0-${maxText - 1}`} : {};
  const text = await (await open(path, {headers, signal})).text();
  const cut = file.size > maxText;
  if (kind === 'csv') {
    const rows = csv(text, file.name.endsWith('.tsv') ? '\t' : ',');
    return {rows: rows.slice(0, maxRows + 1), cut: cut || rows.length > maxRows + 1};
  }
  if (kind === 'json' && !cut) {
    try { return {text: JSON.stringify(JSON.parse(text), null, 2)}; } catch { /* it is shown as it is */ }
  }
  return {text, cut};
}

/** csv reads at most as many rows as are shown, and one that tells that there are more (RFC 4180). */
function csv(text, comma) {
  const rows = [];
  let row = [], cell = '', quoted = false;
  for (let i = 0; i < text.length && rows.length < maxRows + 2; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += c; i++; }
      else quoted = false;
    } else if (c === '"' && !cell) quoted = true;
    else if (c === comma) { row.push(cell); cell = ''; }
    else if (c === '\n') {
      row.push(cell.replace(/\r$/, ''));
      rows.push(row);
      row = []; cell = '';
    } else cell += c;
  }
  if (cell || row.length) rows.push([...row, cell]);
  return rows;
}
