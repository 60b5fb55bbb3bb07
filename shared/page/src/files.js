// Files: those that a person drops or chooses, and those that a job has made.
import {open} from './api.js';

// Folders of tools, which are made again from what is sent. They are those that gojob leaves out.
const leftOut = new Set(['.git', '.venv', 'venv', 'node_modules', '__pycache__']);

/** save has the browser keep a blob under a name. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const a = document.createElement('a');
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** fetchFile returns a file of a job as a blob. */
export const fetchFile = async (path, signal) => (await open(path, {signal})).blob();

/** pathOf is where an output is, and inputOf an uploaded file. */
export const pathOf = (id, name) => `/outputs/${id}/${name.split('/').map(encodeURIComponent).join('/')}`;
export const inputOf = (id, name) => `/artifacts/${id}/${name.split('/').map(encodeURIComponent).join('/')}`;

const entries = reader => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
const fileOf = entry => new Promise((resolve, reject) => entry.file(resolve, reject));

async function walk(entry, prefix, into) {
  if (leftOut.has(entry.name)) return;
  const name = prefix + entry.name;
  if (entry.isFile) {
    into.push({name, file: await fileOf(entry)});
    return;
  }
  const reader = entry.createReader();
  for (let some; (some = await entries(reader)).length;) {
    for (const e of some) await walk(e, name + '/', into);
  }
}

/** dropped lists the files {name, file} of a drop, with those in its folders. */
export async function dropped(transfer) {
  const roots = [...transfer.items].map(i => i.webkitGetAsEntry?.()).filter(Boolean);
  const list = [];
  if (!roots.length) {
    for (const file of transfer.files) list.push({name: file.name, file});
    return list;
  }
  for (const root of roots) await walk(root, '', list);
  return bare(list, roots.length === 1 && roots[0].isDirectory);
}

/** chosen lists the files of a field, which may be one for a folder. */
export function chosen(files) {
  const list = [...files].map(file => ({name: file.webkitRelativePath || file.name, file}))
    .filter(f => !f.name.split('/').some(part => leftOut.has(part)));
  return bare(list, list.some(f => f.file.webkitRelativePath));
}

/** bare takes the name of the only folder off its files: a project is sent as it stands. */
function bare(list, folder) {
  return folder ? list.map(f => ({...f, name: f.name.slice(f.name.indexOf('/') + 1)})) : list;
}
