// A terminal of one line at a time: text with escape sequences becomes lines of runs, each with a
// style. Nothing of it is ever HTML.

// Characters that would change how their neighbours are read (bidi controls), or that a browser
// does not show.
const hidden = /[\u0000-\u0006\u000b\u000c\u000e-\u001a\u001c-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/;
const hiddenAll = new RegExp(hidden.source, 'g');
// What ends plain text.
const special = /[\r\b\x1b\x07]/g;

// A line longer than this goes on in another row.
export const maxLine = 4000;
// An escape sequence is not longer.
const maxEscape = 512;
const tab = 8;

const plain = Object.freeze({key: ''});

function styled(o) {
  const key = `${o.fg ?? ''};${o.bg ?? ''};${o.bold ? 'b' : ''}${o.dim ? 'd' : ''}${o.italic ? 'i' : ''}` +
    `${o.under ? 'u' : ''}${o.strike ? 's' : ''}${o.inverse ? 'v' : ''}`;
  return key === ';;' ? plain : {...o, key};
}

/** colour256 is one of the 256 colours: a number below 16 of the theme, else "rgb(…)". */
function colour256(n) {
  if (n < 16) return n;
  if (n >= 232) { const g = 8 + (n - 232) * 10; return `rgb(${g},${g},${g})`; }
  const part = v => v ? 55 + v * 40 : 0;
  n -= 16;
  return `rgb(${part(Math.floor(n / 36))},${part(Math.floor(n / 6) % 6)},${part(n % 6)})`;
}

/** sgr applies the numbers of "select graphic rendition" to a style. */
function sgr(style, numbers) {
  let o = {...style};
  for (let i = 0; i < numbers.length; i++) {
    const n = numbers[i];
    if (n === 0) o = {};
    else if (n === 1) o.bold = true;
    else if (n === 2) o.dim = true;
    else if (n === 3) o.italic = true;
    else if (n === 4 || n === 21) o.under = true;
    else if (n === 7) o.inverse = true;
    else if (n === 9) o.strike = true;
    else if (n === 22) o.bold = o.dim = false;
    else if (n === 23) o.italic = false;
    else if (n === 24) o.under = false;
    else if (n === 27) o.inverse = false;
    else if (n === 29) o.strike = false;
    else if (n >= 30 && n <= 37) o.fg = n - 30;
    else if (n >= 90 && n <= 97) o.fg = n - 82;
    else if (n >= 40 && n <= 47) o.bg = n - 40;
    else if (n >= 100 && n <= 107) o.bg = n - 92;
    else if (n === 39) o.fg = undefined;
    else if (n === 49) o.bg = undefined;
    else if (n === 38 || n === 48) {
      let colour;
      if (numbers[i + 1] === 5) {
        colour = colour256(Math.min(numbers[i + 2] || 0, 255));
        i += 2;
      } else if (numbers[i + 1] === 2) {
        const c = [2, 3, 4].map(k => Math.min(numbers[i + k] || 0, 255));
        colour = `rgb(${c.join(',')})`;
        i += 4;
      }
      o[n === 38 ? 'fg' : 'bg'] = colour;
    }
  }
  return styled(o);
}

/** visible writes a character that must not be obeyed. */
function visible(c) {
  const code = c.codePointAt(0);
  return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
}

/** Terminal turns text into lines. */
export class Terminal {
  constructor() {
    this.style = plain;
    this.rest = ''; // of an escape sequence whose end has not come
    this.reset();
  }

  reset() {
    this.runs = []; // [text, style], as long as the cursor is at the end
    this.length = 0;
    this.cells = null; // [character, style], once the cursor has moved
    this.at = 0;
  }

  /** line returns the runs of the line as it is. */
  line() {
    if (!this.cells) return this.runs;
    const runs = [];
    for (const [c, style] of this.cells) {
      const last = runs[runs.length - 1];
      if (last && last[1].key === style.key) last[0] += c;
      else runs.push([c, style]);
    }
    return runs;
  }

  /** write adds text that has no newline. */
  write(text) {
    if (this.rest) {
      text = this.rest + text;
      this.rest = '';
    }
    let from = 0;
    special.lastIndex = 0;
    for (let m; (m = special.exec(text));) {
      if (m.index > from) this.print(text.slice(from, m.index));
      from = m.index + 1;
      if (m[0] === '\r') this.move(0);
      else if (m[0] === '\b') this.move(Math.max(this.column() - 1, 0));
      else if (m[0] === '\x1b') {
        const used = this.escape(text, m.index);
        if (used === 0) { // its end has not come
          this.rest = text.slice(m.index);
          return;
        }
        from = m.index + used;
      }
      special.lastIndex = from;
    }
    if (from < text.length) this.print(from ? text.slice(from) : text);
  }

  column() { return this.cells ? this.at : this.length; }

  move(column) {
    if (!this.cells) {
      if (column === this.length) return;
      this.cells = [];
      for (const [text, style] of this.runs) for (const c of text) this.cells.push([c, style]);
    }
    this.at = Math.min(column, maxLine);
  }

  print(text) {
    if (hidden.test(text)) {
      let from = 0;
      for (const m of text.matchAll(hiddenAll)) {
        this.put(text.slice(from, m.index), this.style);
        this.put(visible(m[0]), escaped);
        from = m.index + 1;
      }
      text = text.slice(from);
    }
    this.put(text, this.style);
  }

  put(text, style) {
    if (!text) return;
    if (text.includes('\t')) text = this.expand(text);
    if (!this.cells) {
      const last = this.runs[this.runs.length - 1];
      if (last && last[1].key === style.key) last[0] += text;
      else this.runs.push([text, style]);
      this.length += text.length;
      return;
    }
    for (const c of text) {
      if (this.at >= maxLine) return;
      while (this.cells.length < this.at) this.cells.push([' ', plain]);
      this.cells[this.at++] = [c, style];
    }
  }

  expand(text) {
    let column = this.column(), out = '';
    for (const c of text) {
      const piece = c === '\t' ? ' '.repeat(tab - column % tab) : c;
      column += piece.length;
      out += piece;
    }
    return out;
  }

  /** escape obeys the sequence at a place, and returns how long it is; 0: its end has not come. */
  escape(text, at) {
    const next = text[at + 1];
    const long = text.length - at > maxEscape;
    if (next === undefined) return 0;
    if (next === '[') {
      let end = at + 2;
      while (end < text.length && (text.charCodeAt(end) < 0x40 || text.charCodeAt(end) > 0x7e)) end++;
      if (end === text.length) return long ? 2 : 0;
      this.control(text[end], text.slice(at + 2, end));
      return end + 1 - at;
    }
    if (next === ']' || next === 'P' || next === '_' || next === '^') { // a title, a link, and the like
      const m = /\x07|\x1b\\/.exec(text.slice(at + 2, at + 2 + maxEscape * 8));
      if (!m) return text.length - at > maxEscape * 8 ? 2 : 0;
      return 2 + m.index + m[0].length;
    }
    return '()*+#%'.includes(next) ? (text[at + 2] === undefined ? 0 : 3) : 2;
  }

  control(command, parameters) {
    const n = Number(parameters.split(';')[0]) || 0;
    switch (command) {
      case 'm':
        if (/^[0-9;:]*$/.test(parameters)) this.style = sgr(this.style, parameters.split(/[;:]/).map(Number));
        break;
      case 'K':
        if (n === 2) this.reset();
        else if (n === 0 && this.cells) this.cells.length = Math.min(this.at, this.cells.length);
        break;
      case 'G': this.move(Math.max(n - 1, 0)); break;
      case 'D': this.move(Math.max(this.column() - (n || 1), 0)); break;
      case 'C': this.move(this.column() + (n || 1)); break;
    }
  }
}

/** escaped is the style of characters that are shown and not obeyed. */
const escaped = Object.freeze({key: 'x', escaped: true});

/** paint puts runs into an element, as text. */
export function paint(element, runs) {
  for (const [text, style] of runs) {
    if (style === plain) {
      element.append(text);
      continue;
    }
    const span = document.createElement('span');
    span.textContent = text;
    dress(span, style);
    element.append(span);
  }
}

function dress(span, s) {
  if (s.escaped) { span.className = 'escaped'; return; }
  let {fg, bg} = s;
  if (s.inverse) [fg, bg] = [bg ?? 'bg', fg ?? 'fg'];
  const names = [];
  const colour = (value, prefix, property) => {
    if (value === undefined) return;
    if (typeof value === 'string' && value.startsWith('rgb')) span.style[property] = value;
    else names.push(prefix + value);
  };
  colour(fg, 'f', 'color');
  colour(bg, 'b', 'backgroundColor');
  for (const name of ['bold', 'dim', 'italic', 'under', 'strike']) if (s[name]) names.push(name);
  if (names.length) span.className = names.join(' ');
}

/** lengthOf is how many characters runs have. */
export const lengthOf = runs => runs.reduce((n, r) => n + r[0].length, 0);
