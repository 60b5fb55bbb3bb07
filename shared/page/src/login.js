// Logging in: with a key, or at an OpenID Connect issuer.
import {html, useEffect, useState} from './dom.js';
import {call} from './api.js';

const failures = {
  state: 'The login took too long, or was begun in another browser. Try again.',
  denied: 'The issuer did not let you in.',
  role: 'You are known, but have no role here. Ask who runs this server for one.',
  issuer: 'The issuer does not answer. Try again in a minute.',
  token: 'The issuer let you in, but its token is of no use here. Who runs this server finds the reason in its log.',
};

export function Login({problem, done, url}) {
  const [auth, setAuth] = useState(null);
  const [key, setKey] = useState('');
  const [fault, setFault] = useState(failures[url.searchParams.get('failed')] ?? '');
  const [busy, setBusy] = useState(false);
  useEffect(() => { call('/api/v1/server').then(s => setAuth(s.auth), e => setFault(e.message)); }, []);
  const logIn = async e => {
    e.preventDefault();
    setBusy(true);
    setFault('');
    try {
      await call('/ui/session', {method: 'POST', json: {key: key.trim()}});
      const who = await call('/api/v1/whoami').catch(() => null);
      if (who) return done(who);
      setFault(isSecureContext ? 'The browser did not keep the login. Does it refuse cookies?' : insecure);
    } catch (e) {
      setFault(e.message);
    } finally {
      setBusy(false);
    }
  };
  const back = url.pathname === '/ui/login' ? '/ui/' : url.pathname + url.search;
  const modes = auth?.modes ?? [];
  const ended = problem && problem.message.includes('log in again') ? problem.message : '';
  return html`<div class="card login">
    <h1>Log in</h1>
    ${!fault && ended && html`<p class="notice">${ended}</p>`}
    ${!isSecureContext && html`<p class="notice bad">${insecure}</p>`}
    ${modes.includes('open') && html`<p>Everybody may use this server. <a href="/ui/">All jobs</a></p>`}
    ${modes.includes('oidc') && auth.clientID && html`<p><a class="button primary wide" href=${'/ui/login/oidc?back=' + encodeURIComponent(back)} target="_self">
      Log in with ${new URL(auth.issuer).host}</a></p>`}
    ${modes.includes('keys') && html`<form onSubmit=${logIn}>
      <div class="field"><label for="key">Key</label>
        <input id="key" type="password" autocomplete="current-password" placeholder="gojob_…" value=${key} onInput=${e => setKey(e.target.value)}
          aria-invalid=${Boolean(fault)} aria-describedby=${fault ? 'key-fault' : undefined} autofocus /></div>
      <div class="actions"><button class="primary" disabled=${busy || !key}>Log in</button></div>
      <p class="muted">An admin makes keys. The browser keeps the login for 12 hours in a cookie that no script can read.</p>
    </form>`}
    ${fault && html`<p class="bad" id="key-fault" role="alert">${fault}</p>`}
  </div>`;
}

const insecure = 'This page came over plain http, so the browser does not keep a login. Open it over https, or as localhost: ' +
  `ssh -L ${location.port || 80}:localhost:${location.port || 80} ${location.hostname}`;
