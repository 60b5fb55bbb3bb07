// Small parts that several views have.
import {html, useEffect, useRef, useState} from './dom.js';
import {duration, isOver, ran} from './format.js';

/** useNow returns the time, every second while something is under way. */
export function useNow(active = true) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => document.hidden || setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [active]);
  return now;
}

/** Phase is the phase of a job, as a word with a colour and a sign. */
export const Phase = ({job}) => html`<span class=${'phase ' + job.phase}>${
  job.phase === 'Pending' && job.reason === 'Preparing' ? 'Preparing' : job.phase}</span>`;

/** Bar shows how long a job waited, prepared and ran; scale is the longest of a list, in ms. */
export function Bar({job, now, scale}) {
  const end = job.finishedAt ? Date.parse(job.finishedAt) : now;
  const created = Date.parse(job.createdAt);
  const from = job.preparedFrom;
  const started = job.startedAt ? Date.parse(job.startedAt) : end;
  const prepared = from ? Math.min(Date.parse(from), started) : started;
  const whole = scale || end - created || 1;
  const parts = [['waited', prepared - created], ['prepared', started - prepared], ['ran', ran(job, now)]];
  const text = parts.filter(p => p[1] > 0).map(([name, ms]) => `${name} ${duration(ms)}`).join(', ');
  return html`<span class=${'bar ' + job.phase} role="img" aria-label=${text || 'not started'} title=${text}>
    ${parts.map(([name, ms]) => ms > 0 && html`<span class=${name} style=${{width: Math.max(Math.min(ms / whole, 1) * 100, 1) + '%'}}></span>`)}
  </span>`;
}

/** isActive reports whether a job may still change. */
export const isActive = job => !isOver(job);

/** Copy is a line that can be copied. */
export function Copy({text, label}) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 2000);
    } catch { // the browser does not let pages without TLS write there
      getSelection().selectAllChildren(line.current);
    }
  };
  const line = useRef();
  return html`<div class="copy"><code ref=${line} tabindex="0" role="region" aria-label=${label}>${text}</code>
    <button class="small" onClick=${copy} aria-label=${'Copy: ' + label}>${done ? 'Copied' : 'Copy'}</button></div>`;
}

/** Dialog asks before something is done. It has the focus until it is answered. */
export function Dialog({title, children, close}) {
  const dialog = useRef();
  useEffect(() => {
    const opened = document.activeElement, shown = dialog.current;
    shown.showModal();
    return () => {
      shown.close(); // before that nothing outside of it can have the focus
      opened?.focus?.();
    };
  }, []);
  return html`<dialog ref=${dialog} aria-labelledby="dialog-title" onCancel=${e => { e.preventDefault(); close(); }}>
    <h2 id="dialog-title">${title}</h2>${children}</dialog>`;
}

/** Confirm asks whether to go on. act may fail; what it says is shown. */
export function Confirm({title, text, yes, act, close}) {
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  const go = async () => {
    setBusy(true);
    try {
      await act();
      close();
    } catch (e) {
      setProblem(e.message);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} close=${close}>
    <p>${text}</p>
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    <div class="actions"><button class="danger" disabled=${busy} onClick=${go}>${yes}</button><button onClick=${close}>Keep it</button></div>
  <//>`;
}

/** Failed says what went wrong with a whole view. */
export const Failed = ({problem}) => html`<div class="card bad" role="alert"><p>${problem.message}</p></div>`;
