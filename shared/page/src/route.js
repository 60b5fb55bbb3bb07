// The address of what is shown. A change of it is all that leads to another view, so that the back
// button, a reload and a link that is sent to somebody else lead to the same one.

const listeners = new Set();
const tell = () => listeners.forEach(f => f());

addEventListener('popstate', tell);

/** onNavigate calls f after each change of the address, until the returned function is called. */
export function onNavigate(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

/** navigate shows another address. */
export function navigate(path, {replace = false} = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', path);
  if (!replace) scrollTo(0, 0);
  tell();
}
