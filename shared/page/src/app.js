// The page: which view a path shows, who looks at it, and what all views have around them.
import {html, render, cls, useEffect, useState} from './dom.js';
import {call, closeShared, forgetCaller, isShared, openShared, whenLoggedOut, whoami} from './api.js';
import {Jobs} from './jobs.js';
import {Job} from './job.js';
import {New} from './new.js';
import {Templates} from './templates.js';
import {Keys} from './keys.js';
import {Login} from './login.js';
import {navigate, onNavigate} from './route.js';

const root = '/ui/';

/** viewOf says what a path shows: a component, its properties, and the entry of the menu it belongs to. */
function viewOf(url) {
  const [head = '', rest = ''] = url.pathname.slice(root.length).split('/');
  if (head === '') return {view: Jobs, menu: 'jobs', title: 'Jobs'};
  if (head === 'jobs' && /^[0-9a-f]{32}$/.test(rest)) return {view: Job, id: rest, menu: 'jobs', title: 'Job'};
  if (head === 'new') return {view: New, menu: 'new', title: 'New job'};
  if (head === 'templates') return {view: Templates, name: decodeURIComponent(rest), menu: 'templates', title: 'Templates'};
  if (head === 'keys') return {view: Keys, menu: 'keys', title: 'Keys'};
  if (head === 'login') return {view: Login, title: 'Log in'};
  return {view: Missing, title: 'Not found'};
}

const Missing = () => html`<div class="card"><h1>There is no such page</h1><p><a href="/ui/">All jobs</a></p></div>`;

function App() {
  const [url, setUrl] = useState(() => new URL(location.href));
  const [caller, setCaller] = useState(null); // {owner, role, via}; null: not known yet
  const [locked, setLocked] = useState(null); // the answer that asks for a login
  const [ready, setReady] = useState(false); // the view has its first data
  useEffect(() => onNavigate(() => setUrl(new URL(location.href))), []);
  useEffect(() => whenLoggedOut(problem => { forgetCaller(); setCaller(null); setLocked(problem); }), []);
  const shown = viewOf(url);
  const guest = shown.id && isShared(shown.id);
  useEffect(() => {
    if (!ready || caller || guest || locked) return;
    whoami().then(setCaller);
  }, [ready, caller, guest, locked]);
  useEffect(() => { document.documentElement.dataset.session = caller && caller.via !== 'open' ? 'cookie' : ''; }, [caller]);
  useEffect(() => { document.title = `${shown.title} – Jobs`; }, [shown.title]);
  const loggedIn = who => {
    forgetCaller();
    setCaller(who);
    setLocked(null);
    if (shown.view === Login) navigate(root, {replace: true});
  };
  const logOut = async () => {
    closeShared();
    await call('/ui/session', {method: 'DELETE'});
    forgetCaller();
    setCaller(null);
    setReady(false);
    navigate(root);
    setUrl(new URL(location.href));
  };
  const login = locked || shown.view === Login;
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <header>
      <a class="brand" href=${root}><img src=${icon} alt="" width="24" height="24" /><span>Jobs</span></a>
      ${!login && !guest && html`<nav aria-label="Main">
        <${Menu} name="jobs" at=${shown.menu} href=${root}>Jobs<//>
        ${caller?.role !== 'read' && html`<${Menu} name="new" at=${shown.menu} href="/ui/new">New<//>`}
        <${Menu} name="templates" at=${shown.menu} href="/ui/templates">Templates<//>
        ${caller?.role === 'admin' && caller.via !== 'open' && html`<${Menu} name="keys" at=${shown.menu} href="/ui/keys">Keys<//>`}
      </nav>`}
      <span class="grow"></span>
      ${guest && html`<span class="muted">shared with you</span>`}
      ${caller && caller.via !== 'open' && html`<span class="who" title=${`${caller.role}, by ${caller.via}`}>${caller.owner}</span>
        <button class="link" onClick=${logOut}>Log out</button>`}
    </header>
    <main id="main" tabindex="-1">
      ${login ? html`<${Login} problem=${locked} done=${loggedIn} url=${url} />` :
        html`<${shown.view} key=${shown.id ?? shown.menu} ...${shown} url=${url} caller=${caller} guest=${guest} ready=${() => setReady(true)} />`}
    </main>`;
}

const icon = new URL('icon.svg', import.meta.url).pathname;

const Menu = ({name, at, href, children}) =>
  html`<a href=${href} class=${cls(name === at && 'current')} aria-current=${name === at ? 'page' : undefined}>${children}</a>`;

/**
 * arrive takes the credentials out of the fragment of a link, which is never sent anywhere, and out of
 * the address bar: #token=<key> logs in, #token=<token of a job> opens that job.
 */
async function arrive() {
  const sent = new URLSearchParams(location.hash.slice(1));
  const token = sent.get('token');
  let path = location.pathname;
  const asked = sent.get('job') || /^\/ui\/jobs\/([0-9a-f]{32})$/.exec(path)?.[1];
  if (sent.get('job')) path = '/ui/jobs/' + encodeURIComponent(sent.get('job'));
  if (token || sent.get('job')) history.replaceState(null, '', path + location.search);
  const isLogin = token && (token.startsWith('gojob_') || token.split('.').length === 3);
  if (!token || isLogin || !asked) openShared();
  else openShared(asked, token);
  if (isLogin) {
    await call('/ui/session', {method: 'POST', json: {key: token}}).catch(() => {}); // the view asks for a login then
  }
}

// Links inside of the page do not load it again.
document.addEventListener('click', e => {
  const a = e.target.closest?.('a[href]');
  if (!a || e.defaultPrevented || e.button || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey || a.download || a.target) return;
  const to = new URL(a.href);
  if (to.origin !== location.origin || !to.pathname.startsWith(root) || a.getAttribute('href').startsWith('#')) return;
  e.preventDefault();
  navigate(to.pathname + to.search);
});

arrive().then(() => render(html`<${App} />`, document.getElementById('app')));
