// Server-sent events by fetch, because an EventSource can send no credentials but cookies, and tells
// nothing about why it was refused.
import {open} from './api.js';

// How long the next try waits, in ms; the server may be starting.
const pauses = [500, 1000, 2000, 4000, 8000, 15000];
// Events that come for so long without a break, in ms, leave no time to draw. Then there is one.
const slice = 12;

/** breathe lets the browser draw and answer its user. */
export const breathe = () => globalThis.scheduler?.yield?.() ?? new Promise(r => setTimeout(r));

/** read calls take with each server-sent event {id, type, data} of an answer until its end. */
async function read(answer, take) {
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let rest = '', since = performance.now();
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    let text = rest + decoder.decode(value, {stream: true});
    let from = 0;
    for (let end; (end = text.indexOf('\n\n', from)) >= 0; from = end + 2) {
      const event = parse(text.slice(from, end));
      if (event && taken(take, event) === false) {
        reader.cancel();
        return;
      }
      if (performance.now() - since > slice) {
        await breathe();
        since = performance.now();
      }
    }
    rest = text.slice(from);
  }
}

/** taken tells a fault of this page from a broken connection, which is tried again. */
function taken(take, event) {
  try {
    return take(event);
  } catch (e) {
    reportError(e);
    return false;
  }
}

function parse(block) {
  const event = {id: '', type: 'message', data: ''};
  for (const line of block.split('\n')) {
    const colon = line.indexOf(': ');
    if (colon <= 0) continue;
    const name = line.slice(0, colon), value = line.slice(colon + 2);
    if (name === 'event') event.type = value;
    else if (name === 'id') event.id = value;
    else if (name === 'data') event.data += value;
  }
  return event.data ? event : null;
}

/** readOnce reads the events of one answer. take returns false to stop. */
export async function readOnce(path, take, signal) {
  const answer = await open(path, {headers: {Accept: 'text/event-stream'}, signal});
  if (answer.status !== 204) await read(answer, take);
}

/**
 * follow reads events for as long as this page is looked at: a hidden one keeps no connection, so that
 * functions can scale to zero. After a break it goes on behind the last event. take returns false
 * after the last one. state is told 'live', 'broken' (it is tried again) or 'over', and a Problem
 * that trying again does not solve. The returned function ends it.
 */
export function follow(path, {take, state = () => {}, last = ''}) {
  let ended = false, abort = null, failures = 0, timer = 0, over = false;
  const url = typeof path === 'function' ? path : () => path;
  const stop = () => { abort?.abort(); abort = null; clearTimeout(timer); };
  const run = async () => {
    if (ended || over || document.hidden || abort) return;
    const mine = abort = new AbortController();
    let problem = null;
    try {
      const headers = {Accept: 'text/event-stream'};
      if (last) headers['Last-Event-ID'] = last;
      const answer = await open(url(last), {headers, signal: mine.signal});
      if (answer.status === 204) {
        over = true;
      } else {
        failures = 0;
        state('live');
        await read(answer, event => {
          if (mine.signal.aborted) return false;
          last = event.id || last;
          if (take(event) === false) over = true;
          return !over;
        });
      }
    } catch (e) {
      problem = e;
    }
    if (mine.signal.aborted || ended) return; // hidden, or ended
    abort = null;
    if (over) return state('over');
    if (problem?.status && problem.status !== 429 && problem.status < 500) return state(problem);
    if (problem) state('broken');
    timer = setTimeout(run, pauses[Math.min(failures++, pauses.length - 1)]);
  };
  const shown = () => {
    stop();
    if (!document.hidden) { failures = 0; run(); }
  };
  document.addEventListener('visibilitychange', shown);
  addEventListener('online', shown);
  run();
  return () => {
    ended = true;
    stop();
    document.removeEventListener('visibilitychange', shown);
    removeEventListener('online', shown);
  };
}
