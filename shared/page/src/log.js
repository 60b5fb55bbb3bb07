// The log of a job, with its toolbar.
import {html, cls, useEffect, useRef, useState} from './dom.js';
import {LogView} from './logview.js';
import {isShared, open} from './api.js';
import {bytes} from './format.js';
import {save} from './files.js';

const remembered = 'gojob-log';

function preferences() {
  try { return JSON.parse(localStorage.getItem(remembered)) || {}; } catch { return {}; }
}

function prefer(p) {
  try { localStorage.setItem(remembered, JSON.stringify(p)); } catch { /* storage may be blocked */ }
}

/** Log shows the log of a job; at is the offset of a line to begin at. */
export function Log({job, at}) {
  const viewport = useRef(), view = useRef(), query = useRef();
  const [state, setState] = useState({});
  const [shown, setShown] = useState(() => ({wrap: true, times: false, ...preferences(), stream: '', attempt: ''}));
  useEffect(() => {
    viewport.current.classList.toggle('wrap', shown.wrap);
    view.current = new LogView(viewport.current, job.jobID, {...shown, at}, setState);
    return () => view.current.close();
  }, [job.jobID]);
  const set = change => {
    const all = {...shown, ...change};
    setShown(all);
    if ('wrap' in change || 'times' in change) prefer({wrap: all.wrap, times: all.times});
    view.current.set(change);
  };
  const pressed = e => {
    if (e.altKey || e.ctrlKey || e.metaKey) return;
    if (e.key === 'End') view.current.toEnd();
    else if (e.key === 'Home') view.current.toStart();
    else if (e.key === '/') query.current.focus();
    else if (e.key === 'f') toggleFollow();
    else return;
    e.preventDefault();
  };
  const toggleFollow = () => state.follow ? view.current.pause() : view.current.toEnd();
  const clicked = e => {
    const link = e.target.closest('a.number');
    if (!link || e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault();
    history.replaceState(null, '', link.href);
    view.current.openAt(Number(link.dataset.at));
  };
  const attempts = job.attempts?.length ?? 0;
  return html`
    <section class="log" aria-label="Log">
      <div class="toolbar">
        <h2>Log</h2>
        ${!state.over && html`
          <button class=${cls('toggle', state.follow && 'on')} aria-pressed=${Boolean(state.follow)} onClick=${toggleFollow}
            title="Stay at the end (f)">Follow</button>`}
        <button class=${cls('toggle', shown.wrap && 'on')} aria-pressed=${shown.wrap} onClick=${() => set({wrap: !shown.wrap})}>Wrap</button>
        <button class=${cls('toggle', shown.times && 'on')} aria-pressed=${shown.times} onClick=${() => set({times: !shown.times})}>Times</button>
        <select aria-label="Stream" value=${shown.stream} onChange=${e => set({stream: e.target.value})}>
          <option value="">stdout and stderr</option><option>stdout</option><option>stderr</option>
        </select>
        ${attempts > 1 && html`
          <select aria-label="Attempt" value=${shown.attempt} onChange=${e => set({attempt: e.target.value})}>
            <option value="">all attempts</option>
            ${job.attempts.map(a => html`<option value=${a.number}>attempt ${a.number}</option>`)}
          </select>`}
        <span class="grow"></span>
        <${Search} view=${view} state=${state} input=${query} />
        <${GoTo} view=${view} />
        <${Download} job=${job} stream=${shown.stream} attempt=${shown.attempt} size=${state.size} />
      </div>
      ${state.live === 'broken' && !state.over && html`<p class="notice" role="status">The connection was lost. Trying again; the log goes on where it was.</p>`}
      ${state.live?.status && html`<p class="notice bad" role="alert">${state.live.message}</p>`}
      <div class="viewport" ref=${viewport} tabindex="0" role="region" aria-label="Lines of the log" onKeyDown=${pressed} onClick=${clicked}></div>
      ${state.empty && html`<p class="empty">${state.over || job.finishedAt ? 'The program wrote nothing.' : 'Nothing is written yet.'}</p>`}
      <p class="foot">
        <button class="link" onClick=${() => view.current.toStart()}>Begin</button>
        <button class="link" onClick=${() => view.current.toEnd()}>End</button>
        <span>${state.size ? bytes(state.size) : ''}${state.over ? ' · complete' : state.live === 'live' ? ' · live' : ''}</span>
      </p>
    </section>`;
}

function Search({view, state, input}) {
  const [text, setText] = useState('');
  const found = state.search;
  const again = e => {
    if (e.key === 'Escape') { setText(''); view.current.search(''); }
    if (e.key !== 'Enter') return;
    e.preventDefault();
    if (found?.text === text && found.count) view.current.step(e.shiftKey ? -1 : 1);
    else view.current.search(text);
  };
  return html`
    <span class="search">
      <input ref=${input} type="search" placeholder="Search" aria-label="Search the log" value=${text} onKeyDown=${again}
        onInput=${e => { setText(e.target.value); if (!e.target.value) view.current.search(''); }} />
      ${found && html`<span class="count" role="status">${
        found.count ? `${found.current + 1} of ${found.count}${found.more || !found.over ? '+' : ''}` :
          found.over ? 'not found' : `${bytes(found.done)} searched`}</span>
        <button class="icon" aria-label="Previous match" disabled=${!found.count} onClick=${() => view.current.step(-1)}>↑</button>
        <button class="icon" aria-label="Next match" disabled=${!found.count} onClick=${() => view.current.step(1)}>↓</button>`}
    </span>`;
}

function GoTo({view}) {
  const [none, setNone] = useState(false);
  const go = async e => {
    setNone(false);
    if (e.key !== 'Enter') return;
    e.preventDefault();
    const number = Math.floor(Number(e.target.value));
    if (number > 0) setNone(!await view.current.goTo(number));
  };
  return html`<input class="goto" inputmode="numeric" placeholder="Line" aria-label="Go to a line" aria-invalid=${none}
    title=${none ? 'The log has not so many lines; this is its end.' : ''} onKeyDown=${go} />`;
}

function Download({job, stream, attempt, size}) {
  const q = new URLSearchParams({tail: 'all'});
  if (stream) q.set('stream', stream);
  if (attempt) q.set('attempt', attempt);
  const path = `/api/v1/jobs/${job.jobID}/logs?${q}`;
  const name = `${job.jobID.slice(0, 12)}.log`;
  const byToken = async e => { // the link alone would not be let in
    if (!isShared(job.jobID)) return;
    e.preventDefault();
    save(await (await open(path)).blob(), name);
  };
  return html`<a class="button" href=${path} download=${name} onClick=${byToken}
    title=${size ? 'Download the log, ' + bytes(size) : 'Download the log'}>Download</a>`;
}
