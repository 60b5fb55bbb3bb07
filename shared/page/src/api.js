// Calls of the API, with the credentials that this tab has: the cookie of a session, which scripts
// cannot read, or the token of one job that a link has brought.

/** Problem is an answer of the server that is an error (RFC 9457), or that did not come (status 0). */
export class Problem extends Error {
  constructor(status, detail, errors = []) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }
}

/** unreachable is what people are told when no answer comes. */
export const unreachable = 'The server does not answer. Is it running, and is this machine online?';

// A shared job, {id, token}. It survives a reload of this tab, and nothing else.
let shared = null;
// The tokens of jobs, which files need on a server where everybody may call.
const tokens = new Map();
let onLogin = () => {};

/** whenLoggedOut sets what is called when the server asks for a login. */
export function whenLoggedOut(f) { onLogin = f; }

const remembered = 'gojob-shared';

/** openShared takes the token of a job from a link, or from before a reload. */
export function openShared(id, token) {
  try {
    if (token) sessionStorage.setItem(remembered, JSON.stringify({id, token}));
    shared = JSON.parse(sessionStorage.getItem(remembered) || 'null');
  } catch { // storage may be blocked
    shared = token ? {id, token} : null;
  }
}

/** closeShared forgets the token of a job. */
export function closeShared() {
  shared = null;
  try { sessionStorage.removeItem(remembered); } catch { /* storage may be blocked */ }
}

/** isShared reports whether a job is looked at with a token that somebody has shared. */
export const isShared = id => shared?.id === id;

let asked = null;

/** whoami returns who the caller is, {owner, role, via}, or null if the server does not know. It asks once. */
export function whoami() {
  asked ??= fetch('/api/v1/whoami', {cache: 'no-store', headers: {'X-Gojob': '1'}})
    .then(answer => answer.ok ? answer.json() : null, () => { asked = null; return null; });
  return asked;
}

/** forgetCaller has whoami ask again, after a login or its end. */
export function forgetCaller() { asked = null; }

/** tokenOf gets the token of a job, which files need on a server where everybody may call. */
async function tokenOf(id, signal) {
  if (isShared(id) || tokens.has(id) || (await whoami())?.via !== 'open') return;
  const got = await call(`/api/v1/jobs/${id}/token`, {signal});
  tokens.set(id, got.token);
}

const jobOf = path => /^\/(?:api\/v1\/jobs|outputs|artifacts)\/([0-9a-f]{32})/.exec(path)?.[1];

/** credentials are the headers that a call needs besides the cookie. */
export function credentials(path) {
  const id = jobOf(path);
  if (id && isShared(id)) return {Authorization: 'Bearer ' + shared.token};
  if (id && !path.startsWith('/api/') && tokens.has(id)) return {Authorization: 'Bearer ' + tokens.get(id)};
  return {'X-Gojob': '1'};
}

async function problemOf(answer) {
  try {
    const p = await answer.json();
    return new Problem(answer.status, p.detail || p.title, p.errors);
  } catch {
    return new Problem(answer.status, `The server answered ${answer.status} ${answer.statusText}.`);
  }
}

/** open makes a call, and returns its answer, which is none of an error. */
export async function open(path, {method = 'GET', headers = {}, body, signal} = {}) {
  let answer;
  const id = jobOf(path);
  if (id && !path.startsWith('/api/')) await tokenOf(id, signal);
  try {
    answer = await fetch(path, {method, body, signal, headers: {...credentials(path), ...headers}, cache: 'no-store'});
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Problem(0, unreachable);
  }
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  if (problem.status === 401 && !(id && isShared(id))) onLogin(problem);
  throw problem;
}

/** call makes a call whose answer is JSON. */
export async function call(path, options = {}) {
  if (options.json !== undefined) {
    options = {...options, body: JSON.stringify(options.json),
      headers: {'Content-Type': 'application/json', ...options.headers}};
  }
  const answer = await open(path, options);
  if (answer.status === 204) return null;
  const value = await answer.json();
  const date = Date.parse(answer.headers.get('Date'));
  if (value && date) Object.defineProperty(value, 'at', {value: date}); // the server's clock, in ms
  return value;
}

/** send posts a form, and tells how much of it is sent. */
export function send(path, form, {method = 'POST', headers = {}, progress = () => {}, signal} = {}) {
  return new Promise((resolve, reject) => {
    const r = new XMLHttpRequest();
    r.open(method, path);
    for (const [k, v] of Object.entries({...credentials(path), ...headers})) r.setRequestHeader(k, v);
    r.upload.onprogress = e => progress(e.loaded, e.total);
    r.onerror = () => reject(new Problem(0, unreachable));
    r.onabort = () => reject(new DOMException('stopped', 'AbortError'));
    r.onload = () => {
      let value = {};
      try { value = JSON.parse(r.responseText); } catch { /* a proxy may have answered */ }
      if (r.status < 300) return resolve(value);
      const problem = new Problem(r.status, value.detail || value.title || `The server answered ${r.status}.`, value.errors);
      if (r.status === 401) onLogin(problem);
      reject(problem);
    };
    signal?.addEventListener('abort', () => r.abort());
    r.send(form);
  });
}

/** randomKey is for Idempotency-Key. */
export const randomKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map(b => b.toString(16).padStart(2, '0')).join('');
