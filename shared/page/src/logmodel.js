// The lines of a log around one place, as they are cut out of the log's events.
import {Terminal, maxLine, lengthOf} from './ansi.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const scratch = new Uint8Array(128 << 10);
const most = 8 << 10; // characters that head leaves

/** sizeOf is how many bytes a text has in UTF-8. */
const sizeOf = text => text.length * 3 <= scratch.length ? encoder.encodeInto(text, scratch).written : encoder.encode(text).length;

function fromBase64(text) {
  const raw = atob(text);
  const data = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) data[i] = raw.charCodeAt(i);
  return data;
}

/**
 * chunkOf reads an event of the log: {start, end, text, bytes, stream, time}. start and end are
 * offsets in bytes. bytes has what is not UTF-8.
 */
export function chunkOf(event) {
  const data = JSON.parse(event.data);
  const chunk = {end: parseInt(event.id, 10), stream: event.type, time: data.time, text: data.text ?? ''};
  if (data.base64) {
    chunk.bytes = fromBase64(data.base64);
    chunk.text = decoder.decode(chunk.bytes);
    chunk.size = chunk.bytes.length;
  } else {
    chunk.size = sizeOf(chunk.text);
  }
  chunk.start = chunk.end - chunk.size;
  return chunk;
}

/** head cuts a long chunk, so that one of many short lines does not take all of a frame: [begin, rest]. */
export function head(chunk) {
  if (!chunk.text || chunk.text.length <= most || chunk.bytes || chunk.size !== chunk.text.length) return [chunk, null];
  const cut = chunk.text.lastIndexOf('\n', most) + 1 || most;
  const middle = chunk.start + cut;
  return [{...chunk, text: chunk.text.slice(0, cut), size: cut, end: middle},
    {...chunk, text: chunk.text.slice(cut), size: chunk.size - cut, start: middle}];
}

/** after returns what of a chunk lies behind an offset. */
export function after(chunk, offset) {
  if (chunk.start >= offset) return chunk;
  const bytes = (chunk.bytes ?? encoder.encode(chunk.text)).subarray(offset - chunk.start);
  return {...chunk, start: offset, size: bytes.length, bytes, text: decoder.decode(bytes)};
}

/** before returns what of a chunk lies before an offset. */
export function before(chunk, offset) {
  if (chunk.end <= offset) return chunk;
  const bytes = (chunk.bytes ?? encoder.encode(chunk.text)).subarray(0, offset - chunk.start);
  return {...chunk, end: offset, size: bytes.length, bytes, text: decoder.decode(bytes)};
}

/**
 * Lines cuts chunks that follow one another into lines: {start, end, rel, soft, runs, length, stream,
 * time, attempt, version}. rel counts lines from an unknown first one; a soft line continues the one
 * before, which was too long.
 */
export class Lines {
  constructor(cutFirst = false) {
    this.list = [];
    this.end = null; // offset behind the last chunk
    this.cutting = cutFirst; // it began in the middle of a line, of which nothing is wanted
    this.attempt = 0;
    this.terminal = new Terminal();
    this.open = null; // the last line, if no newline has ended it
    this.rel = 0;
    this.pendingAttempt = 0;
  }

  /** begin says that what follows was written by another attempt. */
  begin(attempt) {
    if (this.attempt && attempt !== this.attempt) this.pendingAttempt = attempt;
    this.attempt = attempt;
  }

  add(chunk) {
    const {text} = chunk;
    let from = 0, at = chunk.start;
    const narrow = chunk.size === text.length && !chunk.bytes;
    let raw = 0; // a place in chunk.bytes
    while (from < text.length) {
      const newline = text.indexOf('\n', from);
      const stop = newline < 0 ? text.length : newline;
      let piece = text.slice(from, stop), size;
      if (chunk.bytes) {
        const i = chunk.bytes.indexOf(10, raw);
        size = (i < 0 ? chunk.bytes.length : i) - raw;
        raw = i + 1;
      } else {
        size = narrow ? piece.length : sizeOf(piece);
      }
      if (newline >= 0 && piece.endsWith('\r')) piece = piece.slice(0, -1);
      this.piece(piece, at, chunk);
      at += size;
      if (newline < 0) break;
      at++;
      this.finish(at);
      from = newline + 1;
    }
    this.end = chunk.end;
  }

  piece(text, at, chunk) {
    if (this.cutting) return;
    while (!text.includes('\r') && this.terminal.column() + text.length > maxLine) {
      const room = Math.max(maxLine - this.terminal.column(), 1);
      this.put(text.slice(0, room), at, chunk);
      at += sizeOf(text.slice(0, room));
      text = text.slice(room);
      this.close(at);
      this.terminal.reset();
      this.create(at, chunk, true);
    }
    this.put(text, at, chunk);
  }

  put(text, at, chunk) {
    const line = this.open ?? this.create(at, chunk, false);
    this.terminal.write(text);
    line.runs = this.terminal.line();
    line.length = lengthOf(line.runs);
    line.version++;
    if (chunk.stream === 'stderr') line.stream = 'stderr';
  }

  create(at, chunk, soft) {
    if (!soft) this.rel++;
    const line = {start: at, end: at, rel: this.rel, soft, runs: [], length: 0, stream: chunk.stream, time: chunk.time,
      attempt: this.attempt, first: this.pendingAttempt, version: 0};
    this.pendingAttempt = 0;
    this.list.push(line);
    return this.open = line;
  }

  close(at) {
    if (!this.open) return;
    this.open.end = at;
    this.open = null;
  }

  finish(at) {
    this.close(at);
    this.terminal.reset();
    this.cutting = false;
  }
}
