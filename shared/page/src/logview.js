// A log of any size in a scrolling element. Some thousand lines around one place are kept, and only
// those that can be seen are elements. Others are fetched by their offset in bytes.
import {open} from './api.js';
import {follow, readOnce, breathe} from './events.js';
import {Lines, chunkOf, after, before, head} from './logmodel.js';
import {paint} from './ansi.js';

const keep = 20_000; // lines
const firstLines = 1000; // that are asked for at first
const page = 256 << 10; // bytes that are fetched at a time
const context = 32 << 10; // bytes that are fetched before a place
const frame = 8; // ms for cutting lines in each frame
const backlog = 2 << 20; // characters that may wait for that; older ones are left out
const markEvery = 1 << 20; // bytes between lines whose offset is remembered
const maxFound = 1000;
// By which a person scrolls; all else that moves the lines is done here.
const hands = ['wheel', 'touchmove', 'keydown', 'pointerdown'];
const handTime = 1000; // ms that scrolling may go on after it

/**
 * LogView shows the log of a job in an element. tell is called with what a toolbar shows. options are
 * {stream, attempt, wrap, times, at}.
 */
export class LogView {
  constructor(viewport, id, options, tell) {
    this.viewport = viewport;
    this.id = id;
    this.options = {...options};
    this.tell = tell;
    this.state = {follow: !options.at && options.at !== 0, live: '', size: 0, over: null, detached: false, empty: true};
    this.marks = [[1, 0]]; // line, offset
    this.rows = new Map();
    this.build();
    this.reset();
    if (this.state.follow) this.start(firstLines);
    else this.openAt(options.at).then(() => this.start(0));
  }

  build() {
    this.canvas = document.createElement('div');
    this.canvas.className = 'canvas';
    this.body = document.createElement('div');
    this.body.className = 'rows';
    this.canvas.append(this.body);
    this.viewport.replaceChildren(this.canvas);
    const ruler = document.createElement('span');
    ruler.textContent = '0'.repeat(100);
    ruler.className = 'ruler';
    this.canvas.append(ruler);
    const box = ruler.getBoundingClientRect();
    this.charWidth = box.width / 100 || 8;
    this.rowHeight = box.height || 20;
    ruler.remove();
    this.onScroll = () => this.scrolled();
    this.onHand = e => {
      this.hand = performance.now();
      const bar = e.type === 'pointerdown' && e.target === this.viewport && e.offsetX >= this.width; // which tells no more
      if (bar && this.state.follow) this.pause();
    };
    this.viewport.addEventListener('scroll', this.onScroll, {passive: true});
    for (const name of hands) this.viewport.addEventListener(name, this.onHand, {passive: true});
    this.measure();
    this.resized = new ResizeObserver(() => { this.measure(); this.draw(); });
    this.resized.observe(this.viewport);
  }

  /** measure notes what would be slow to ask for in each frame. */
  measure() {
    this.height = this.viewport.clientHeight;
    this.width = this.viewport.clientWidth;
    this.gutter = this.body.firstChild?.firstChild?.getBoundingClientRect().width || 64;
  }

  close() {
    this.closed = true;
    this.stop?.();
    this.searching?.abort();
    this.fetching?.abort();
    this.resized.disconnect();
    this.viewport.removeEventListener('scroll', this.onScroll);
    for (const name of hands) this.viewport.removeEventListener(name, this.onHand);
    cancelAnimationFrame(this.frame);
  }

  change(state) {
    Object.assign(this.state, state);
    if (!this.closed) this.tell({...this.state});
  }

  reset() {
    this.lines = new Lines();
    this.base = null; // what makes rel the number of a line
    this.queue = [];
    this.queued = 0;
    this.marked = null;
    this.fetching?.abort();
    this.fetching = null;
  }

  query(more) {
    const q = new URLSearchParams(more);
    if (this.options.stream) q.set('stream', this.options.stream);
    if (this.options.attempt) q.set('attempt', this.options.attempt);
    return `/api/v1/jobs/${this.id}/logs?${q}`;
  }

  /** start follows the log from its last lines on. */
  start(tail) {
    this.stop?.();
    if (this.closed) return;
    this.stop = follow(this.query({tail}), {
      take: event => this.take(event),
      state: live => this.change({live}),
    });
  }

  take(event) {
    if (event.type === 'end') {
      const end = JSON.parse(event.data);
      this.change({over: end, size: Math.max(this.state.size, parseInt(event.id, 10) || 0)});
      this.schedule();
      return false;
    }
    if (event.type === 'attempt') {
      this.queue.push({attempt: JSON.parse(event.data).attempt});
      return true;
    }
    const chunk = chunkOf(event);
    this.queue.push(chunk);
    this.queued += chunk.text.length;
    this.liveEnd = chunk.end;
    this.shed();
    this.schedule();
    return true;
  }

  /** shed leaves out what would scroll by faster than it can be drawn. */
  shed() {
    if (this.queued <= backlog || !this.state.follow) return;
    let dropped = 0;
    while (this.queued - dropped > backlog / 2) {
      const chunk = this.queue.shift();
      dropped += chunk.text?.length ?? 0;
    }
    this.queued -= dropped;
    this.lines = new Lines(true);
    this.base = null;
  }

  schedule() {
    if (this.frame || this.closed) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.work();
    });
  }

  /** work cuts what has come into lines, for a part of a frame, and draws. */
  work() {
    const until = performance.now() + frame;
    let n = 0;
    while (n < this.queue.length && performance.now() < until) {
      const [first, rest] = head(this.queue[n]);
      this.append(first);
      this.queued -= first.text?.length ?? 0;
      if (rest) this.queue[n] = rest;
      else n++;
    }
    this.queue.splice(0, n);
    if (this.lines.end !== null) {
      this.trim();
      this.known();
      const size = Math.max(this.state.size, this.liveEnd ?? 0);
      if (size !== this.state.size || this.state.empty === this.lines.list.length > 0) {
        this.change({size, empty: this.lines.list.length === 0});
      }
    }
    this.draw();
    if (this.queue.length) this.schedule();
  }

  append(chunk) {
    if (chunk.attempt !== undefined) return this.lines.begin(chunk.attempt);
    if (this.state.detached) return;
    const end = this.lines.end;
    if (end !== null && chunk.end <= end) return;
    if (end !== null && chunk.start > end) return this.detach();
    this.lines.add(end === null ? chunk : after(chunk, end));
  }

  detach() { this.change({detached: true}); }

  /** trim keeps the number of lines within its bound, away from what is looked at. */
  trim() {
    const excess = this.lines.list.length - keep;
    if (excess <= 0) return;
    if (this.state.follow || this.nearEnd()) {
      const height = this.offsetOf(excess);
      this.lines.list.splice(0, excess);
      this.sums = null;
      if (!this.state.follow) this.scrollTo(this.viewport.scrollTop - height);
      return;
    }
    this.cutEnd(keep);
  }

  cutEnd(count) {
    const list = this.lines.list;
    list.length = count;
    while (list.length && list[list.length - 1].end === list[list.length - 1].start) list.pop();
    this.lines.open = null;
    this.lines.terminal.reset();
    this.lines.end = list[list.length - 1].end;
    this.detach();
  }

  nearEnd() {
    const v = this.viewport;
    return v.scrollTop + v.clientHeight / 2 > v.scrollHeight / 2;
  }

  /** known finds out whether the number of the first line follows from its offset. */
  known() {
    const first = this.lines.list[0];
    if (this.base === null && first?.start === 0) this.base = 1 - first.rel;
  }

  // Drawing.

  columns() {
    return Math.max(Math.floor((this.width - this.gutter - 24) / this.charWidth), 20);
  }

  /** offsets are where lines begin, in pixels, if they wrap; all but those in sight are estimated. */
  offsets() {
    const list = this.lines.list, columns = this.columns();
    if (this.sums?.length === list.length + 1 && this.sumsFor === columns && this.sumsEnd === this.lines.end) return this.sums;
    const sums = new Float64Array(list.length + 1);
    for (let i = 0; i < list.length; i++) {
      sums[i + 1] = sums[i] + Math.max(Math.ceil(list[i].length / columns), 1) * this.rowHeight;
    }
    this.sumsFor = columns;
    this.sumsEnd = this.lines.end;
    return this.sums = sums;
  }

  offsetOf(index) { return this.options.wrap ? this.offsets()[index] : index * this.rowHeight; }

  indexAt(y) {
    const n = this.lines.list.length;
    if (!this.options.wrap) return Math.min(Math.max(Math.floor(y / this.rowHeight), 0), n);
    const sums = this.offsets();
    let low = 0, high = n;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (sums[middle] <= y) low = middle; else high = middle - 1;
    }
    return low;
  }

  draw() {
    if (this.closed) return;
    const v = this.viewport, list = this.lines.list;
    const total = this.offsetOf(list.length);
    this.canvas.style.height = total + 'px';
    if (this.state.over) v.style.setProperty('--content', total + 24 + 'px');
    else v.style.removeProperty('--content');
    const top = this.state.follow ? Math.max(total - this.height, 0) : v.scrollTop;
    const from = Math.max(this.indexAt(top) - 5, 0);
    const to = Math.min(this.indexAt(top + this.height) + 6, list.length);
    this.body.style.transform = `translateY(${this.offsetOf(from)}px)`;
    const rows = new Map();
    for (let i = from; i < to; i++) rows.set(list[i], this.row(list[i]));
    for (const [line, row] of this.rows) if (!rows.has(line)) row.element.remove();
    this.rows = rows;
    let next = this.body.firstChild;
    for (const {element} of rows.values()) {
      if (element === next) next = next.nextSibling;
      else this.body.insertBefore(element, next);
    }
    if (this.state.follow) this.scrollTo(total); // beyond the end it is the end
    if (this.options.times !== this.measured) { // the gutter is as wide as it will be
      this.measured = this.options.times;
      this.measure();
    }
    this.highlight();
  }

  row(line) {
    const number = this.base === null || line.soft ? '' : line.rel + this.base;
    const key = `${line.version} ${number} ${this.options.times} ${this.marked === line.start}`;
    const old = this.rows.get(line);
    if (old?.key === key) return old;
    const element = old?.element ?? document.createElement('div');
    element.className = 'row' + (line.stream === 'stderr' ? ' stderr' : '') + (line.first ? ' attempt' : '') +
      (this.marked === line.start ? ' marked' : '');
    const link = document.createElement('a');
    link.className = 'number';
    link.href = '?at=' + line.start;
    link.dataset.at = line.start;
    link.tabIndex = -1;
    link.textContent = number || '·';
    if (line.first) link.title = 'Attempt ' + line.first;
    element.replaceChildren(link);
    if (this.options.times) {
      const time = document.createElement('span');
      time.className = 'time';
      time.textContent = line.time ? new Date(line.time).toISOString().slice(11, 23) : '';
      element.append(time);
    }
    const text = document.createElement('span');
    text.className = 'text';
    paint(text, line.runs);
    element.append(text);
    return {element, key, text};
  }

  /** highlight marks what is searched for in the lines that can be seen. */
  highlight() {
    if (!globalThis.CSS?.highlights) return;
    if (!this.needle) return CSS.highlights.delete('found');
    const ranges = [];
    for (const row of this.rows.values()) {
      const text = row.text.textContent.toLowerCase();
      for (let i = text.indexOf(this.needle); i >= 0 && ranges.length < 500; i = text.indexOf(this.needle, i + 1)) {
        ranges.push(rangeOf(row.text, i, i + this.needle.length));
      }
    }
    CSS.highlights.set('found', new Highlight(...ranges));
  }

  // Scrolling.

  scrollTo(y) {
    this.viewport.scrollTop = y;
  }

  scrolled() {
    const v = this.viewport;
    const byHand = performance.now() - this.hand < handTime;
    if (this.state.follow && !byHand) return;
    const end = v.scrollTop + v.clientHeight >= v.scrollHeight - 4;
    const follow = end && !this.state.detached;
    if (byHand && this.state.follow !== follow) this.change({follow});
    if (v.scrollTop < v.clientHeight) this.loadBefore();
    if (v.scrollTop + 2 * v.clientHeight > v.scrollHeight && this.state.detached) this.loadAfter();
    this.schedule();
  }

  /** loadBefore fetches what is written before the first line. */
  async loadBefore() {
    const first = this.lines.list[0];
    if (this.fetching || !first || first.start === 0) return;
    const from = Math.max(first.start - page, 0);
    const got = await this.read(from, first.start, from > 0);
    if (!got?.list.length) return;
    const list = this.lines.list;
    const added = got.list;
    const last = added[added.length - 1];
    const shift = first.rel - last.rel - (first.soft ? 0 : 1);
    for (const line of added) line.rel += shift;
    const top = this.viewport.scrollTop;
    list.unshift(...added);
    this.sums = null;
    if (list.length > keep) this.cutEnd(keep);
    this.known();
    this.canvas.style.height = this.offsetOf(list.length) + 'px';
    this.scrollTo(top + this.offsetOf(added.length));
    this.draw();
  }

  /** loadAfter fetches what follows the last line. */
  async loadAfter() {
    if (this.fetching || this.lines.end === null) return;
    const mine = this.fetching = new AbortController();
    const from = this.lines.end;
    let whole = true;
    try {
      await readOnce(this.query({from, follow: false}), event => {
        if (mine.signal.aborted) return false;
        if (event.type === 'attempt') this.lines.begin(JSON.parse(event.data).attempt);
        else if (event.type !== 'end') this.lines.add(chunkOf(event));
        whole = this.lines.end - from < page;
        return whole;
      }, mine.signal);
    } catch { /* scrolling tries it again */ }
    if (this.fetching !== mine) return;
    this.fetching = null;
    if (whole && this.lines.end >= (this.liveEnd ?? 0)) this.change({detached: false});
    this.trim();
    this.draw();
  }

  /** read returns the lines from one offset to another. */
  async read(from, to, cutFirst) {
    const mine = this.fetching = new AbortController();
    const lines = new Lines(cutFirst);
    try {
      await readOnce(this.query({from, follow: false}), event => {
        if (mine.signal.aborted) return false;
        if (event.type === 'attempt') lines.begin(JSON.parse(event.data).attempt);
        else if (event.type !== 'end') lines.add(before(chunkOf(event), to));
        return lines.end === null || lines.end < to;
      }, mine.signal);
    } catch (e) {
      if (this.fetching === mine) this.fetching = null;
      return null;
    }
    if (this.fetching !== mine) return null;
    this.fetching = null;
    const {open} = lines;
    if (open && lines.end >= to) { // its rest is not wanted, so neither is its begin
      lines.close(lines.end);
      if (lines.list.length > 1) lines.end = lines.list.pop().start;
      lines.terminal.reset();
    }
    if (cutFirst && !lines.list.length && lines.end !== null) return this.read(from, to, false); // one long line
    return lines;
  }

  /** openAt shows the line that begins at an offset; number is which one it is, if that is known. */
  async openAt(offset, number) {
    this.change({follow: false, detached: true});
    const i = this.lines.list.findIndex(l => l.start <= offset && (offset < l.end || l === this.lines.open));
    if (i < 0) {
      this.reset();
      const from = Math.max(offset - context, 0);
      const got = await this.read(from, offset + page, from > 0);
      if (!got) return;
      this.lines = got;
      this.change({empty: got.list.length === 0, size: Math.max(this.state.size, got.end ?? 0)});
    }
    const list = this.lines.list;
    const found = list.findIndex(l => l.start <= offset && (offset < l.end || l === this.lines.open));
    const line = list[found];
    if (!line) return this.draw();
    if (number) this.base = number - line.rel;
    this.known();
    this.marked = line.start;
    this.canvas.style.height = this.offsetOf(list.length) + 'px';
    this.scrollTo(Math.max(this.offsetOf(found) - this.viewport.clientHeight / 3, 0));
    this.draw();
  }

  /** toEnd shows the last lines, and follows. */
  toEnd() {
    this.change({follow: !this.state.over, detached: false});
    if (this.lines.end !== null && this.lines.end >= (this.liveEnd ?? this.state.size)) {
      this.draw();
      this.scrollTo(this.viewport.scrollHeight);
      return this.draw();
    }
    this.reset();
    this.change({over: null, follow: true});
    this.start(firstLines);
  }

  toStart() { return this.openAt(0, 1); }

  /** set changes how the log is shown. */
  set(options) {
    const again = 'stream' in options || 'attempt' in options;
    Object.assign(this.options, options);
    this.sums = null;
    this.rows.forEach(row => row.element.remove());
    this.rows.clear();
    this.viewport.classList.toggle('wrap', Boolean(this.options.wrap));
    if (!again) return this.draw();
    this.reset();
    this.marks = [[1, 0]];
    this.liveEnd = 0;
    this.change({follow: true, detached: false, over: null, size: 0, empty: true});
    this.start(firstLines);
    this.draw();
  }

  /** pause ends following, so that the reader can look around. */
  pause() { this.change({follow: false}); }

  // Searching.

  /** blocks reads the log from an offset, in blocks of whole lines: take(bytes, offset). */
  async blocks(from, signal, take) {
    const answer = await open(this.query({from, follow: false}), {headers: {Accept: 'text/plain'}, signal});
    const reader = answer.body.getReader();
    let rest = new Uint8Array(0), at = from, since = performance.now();
    for (;;) {
      const {done, value} = await reader.read();
      let data = done ? rest : value;
      if (!done && rest.length) {
        data = new Uint8Array(rest.length + value.length);
        data.set(rest);
        data.set(value, rest.length);
      }
      const cut = done || data.length > markEvery ? data.length : data.lastIndexOf(10) + 1;
      if (cut && take(data.subarray(0, cut), at) === false) {
        reader.cancel();
        return at;
      }
      at += cut;
      if (done) return at;
      rest = data.slice(cut);
      if (performance.now() - since > 12) {
        await breathe();
        if (signal.aborted) return at;
        since = performance.now();
      }
    }
  }

  mark(line, offset) {
    const last = this.marks[this.marks.length - 1];
    if (offset - last[1] >= markEvery) this.marks.push([line, offset]);
  }

  /** goTo shows a line by its number. It returns false if the log has not so many. */
  async goTo(number) {
    this.searching?.abort();
    const mine = this.searching = new AbortController();
    const near = this.marks.findLast(m => m[0] <= number) ?? this.marks[0];
    let line = near[0], found = -1, last = null;
    try {
      await this.blocks(near[1], mine.signal, (data, at) => {
        this.mark(line, at);
        let i = 0;
        while (line < number) {
          const next = data.indexOf(10, i);
          if (next < 0) break;
          line++;
          i = next + 1;
        }
        last = [line, at + i];
        if (line < number || i >= data.length) return true;
        found = at + i;
        return false;
      });
    } catch (e) {
      if (e.name !== 'AbortError') throw e;
    }
    if (mine.signal.aborted) return true;
    if (found >= 0) await this.openAt(found, number);
    else if (last) await this.openAt(Math.max(last[1] - 1, 0));
    return found >= 0;
  }

  /** search finds all lines with a text, whatever its case. */
  async search(text) {
    this.searching?.abort();
    const mine = this.searching = new AbortController();
    this.needle = text.toLowerCase();
    this.found = [];
    this.current = -1;
    if (!text) {
      this.change({search: null});
      return this.draw();
    }
    const decoder = new TextDecoder();
    const upto = {done: 0, line: 1};
    const report = over => this.change({search: {text, count: this.found.length, current: this.current, over,
      more: this.found.length >= maxFound, done: upto.done}});
    report(false);
    let reported = performance.now();
    try {
      await this.blocks(0, mine.signal, (data, at) => {
        this.mark(upto.line, at);
        this.searchBlock(data, at, decoder, upto);
        upto.done = at + data.length;
        if (this.current < 0 && this.found.length) this.step(1);
        if (performance.now() - reported > 200) {
          report(false);
          reported = performance.now();
        }
        return this.found.length < maxFound;
      });
    } catch (e) {
      if (e.name !== 'AbortError') throw e;
    }
    if (!mine.signal.aborted) report(true);
  }

  searchBlock(data, at, decoder, upto) {
    const text = decoder.decode(data).toLowerCase();
    let i = text.indexOf(this.needle);
    let line = upto.line, place = 0, counted = 0;
    while (i >= 0 && this.found.length < maxFound) {
      for (let n; (n = text.indexOf('\n', counted)) >= 0 && n < i; counted = n + 1) {
        line++;
        place = data.indexOf(10, place) + 1;
      }
      this.found.push([at + place, line]);
      const end = text.indexOf('\n', i);
      if (end < 0) break;
      i = text.indexOf(this.needle, end);
    }
    let count = 0;
    for (let k = 0; k < data.length; k++) if (data[k] === 10) count++;
    upto.line += count;
  }

  /** step goes on to the next place that was found, or the one before. */
  step(by) {
    if (!this.found?.length) return;
    this.current = (this.current + by + this.found.length) % this.found.length;
    if (this.state.search) this.change({search: {...this.state.search, current: this.current, count: this.found.length}});
    const [offset, line] = this.found[this.current];
    return this.openAt(offset, line);
  }
}

/** rangeOf is a range of the text of an element. */
function rangeOf(element, from, to) {
  const range = new Range();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let at = 0;
  for (let node; (node = walker.nextNode());) {
    const end = at + node.length;
    if (from >= at && from <= end) range.setStart(node, from - at);
    if (to >= at && to <= end) {
      range.setEnd(node, to - at);
      break;
    }
    at = end;
  }
  return range;
}
