// Numbers, times and reasons in words for people.

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** bytes writes a size. */
export function bytes(n) {
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

/** duration writes a time span in ms. */
export function duration(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 10) return s.toFixed(1) + ' s';
  if (s < 60) return Math.floor(s) + ' s';
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

/** ago writes how long a time is past. */
export function ago(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 5) return 'now';
  if (s < 60) return Math.floor(s) + ' s ago';
  if (s < 3600) return Math.floor(s / 60) + ' min ago';
  if (s < 86400) return Math.floor(s / 3600) + ' h ago';
  return Math.floor(s / 86400) + ' d ago';
}

/** moment writes a time of day, with the day if it is another one. */
export function moment(text) {
  const at = new Date(text);
  const day = at.toDateString() === new Date().toDateString() ? {} : {month: 'short', day: 'numeric'};
  return at.toLocaleString([], {...day, hour: '2-digit', minute: '2-digit', second: '2-digit'});
}

/** short is an ID as people see it. */
export const short = id => id.slice(0, 12);

/** titleOf is what a job is called. */
export const titleOf = s => s.name || s.entrypoint || short(s.jobID);

export const isOver = s => !['Pending', 'Running'].includes(s.phase);

/** ran is how long a job ran, or has been running, in ms; 0 before it starts. */
export const ran = (s, now) => s.startedAt ? (s.finishedAt ? Date.parse(s.finishedAt) : now) - Date.parse(s.startedAt) : 0;

const signals = {1: 'SIGHUP', 2: 'SIGINT', 3: 'SIGQUIT', 4: 'SIGILL', 6: 'SIGABRT', 7: 'SIGBUS', 8: 'SIGFPE',
  9: 'SIGKILL', 11: 'SIGSEGV', 13: 'SIGPIPE', 14: 'SIGALRM', 15: 'SIGTERM', 24: 'SIGXCPU', 25: 'SIGXFSZ'};

const quantities = {Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, k: 1e3, K: 1e3, M: 1e6, G: 1e9, T: 1e12, '': 1};

/** memoryOf reads a quantity of Kubernetes, in bytes; 0 if it cannot. */
export function memoryOf(text) {
  const m = /^([0-9.]+)(Ki|Mi|Gi|Ti|k|K|M|G|T)?$/.exec(text || '');
  return m ? Number(m[1]) * quantities[m[2] || ''] : 0;
}

/** double is twice a quantity, in the words of its user. */
export function double(text) {
  const m = /^([0-9.]+)([A-Za-z]*)$/.exec(text);
  return m ? Number(m[1]) * 2 + m[2] : text;
}

const plural = (n, one, many = one + 's') => `${n} ${n === 1 ? one : many}`;
const stop = text => text[0].toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? '' : '.');

function exited(s) {
  const code = s.exitCode;
  if (code > 128 && signals[code - 128]) return `The program was ended by ${signals[code - 128]} (exit code ${code}).`;
  return code === undefined ? 'The program failed.' : `The program ended with exit code ${code}.`;
}

/** pending says why a job has not started. */
function pending(s) {
  switch (s.reason) {
    case 'Preparing': return 'The packages that it needs are being installed.';
    case 'ContainerCreating': return 'Its container is being made: images are pulled, files are fetched.';
    case 'Suspended': return `Its queue${s.queue?.name ? ' ' + s.queue.name : ''} has not admitted it yet.`;
    case 'ImagePullBackOff': return 'Its image cannot be pulled. Is the name right?';
    case 'Unschedulable': return 'No node has room for it. It starts once one has.';
    case 'QuotaExceeded': return 'The quota of the cluster leaves no room for it.';
    case 'FailedCreate': return 'Kubernetes refused its pod.';
  }
  const ahead = s.queue?.ahead;
  if (ahead > 0) return `It waits for its turn: ${plural(ahead, 'job')} ${ahead === 1 ? 'starts' : 'start'} first.`;
  return 'It waits until it can run.';
}

/** why says in a sentence what a phase and its reason mean. */
function why(s) {
  const memory = s.memory ? `its ${memoryOf(s.memory) ? bytes(memoryOf(s.memory)) : s.memory}` : 'the memory that it may have';
  switch (s.reason) {
    case 'Completed': return `The program ended well${s.startedAt ? ' after ' + duration(ran(s)) : ''}.`;
    case 'Error': return exited(s);
    case 'OOMKilled':
      return `Killed: it used more than ${memory}.` + (s.memory ? ` Ask for more with memory=${double(s.memory)}.` : '');
    case 'DeadlineExceeded':
      return `Stopped: it was not done after ${s.timeoutSeconds ? duration(s.timeoutSeconds * 1000) : 'its time limit'}.` +
        (s.timeoutSeconds ? ` Give it longer with timeoutSeconds=${s.timeoutSeconds * 2}.` : '');
    case 'Cancelled': return 'Somebody cancelled it.';
    case 'DependenciesFailed': return 'The packages that it needs could not be installed.';
    case 'ContainerCannotRun': return 'The program could not be started.';
    case 'Evicted': return 'Stopped: its files took too much room.';
    case 'Interrupted': return 'The machine or the server went away while it ran.';
    case 'NodeLost': return 'The node that it ran on does not answer.';
    case 'Preempted': return 'It had to make room for a more important job.';
    case 'FetchFailed': return 'Its files could not be read from the storage.';
    case 'StartFailed': return 'The platform could not start it.';
    case 'OutputsLost': return 'The program ended well, but its outputs could not be stored.';
    case 'Retrying': return 'An attempt failed. The next one follows after a pause.';
  }
  if (s.phase === 'Running') return 'The program runs.';
  return s.phase === 'Pending' ? pending(s) : s.phase === 'Succeeded' ? 'It succeeded.' : `It ended: ${s.reason || s.phase}.`;
}

// Reasons whose sentence says all that the server's message does.
const complete = ['Completed', 'Cancelled', 'Queued', 'Preparing', 'OOMKilled', 'DeadlineExceeded'];

/** explain returns a sentence about how a job fares, and what the server says besides. */
export function explain(s) {
  const sentence = why(s);
  const told = !s.message || complete.includes(s.reason) || s.phase === 'Running' && !s.reason;
  return {sentence, detail: told ? '' : stop(s.message)};
}

/** quote writes a word for a shell. */
export const quote = word => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
