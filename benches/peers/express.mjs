// An application of express-openid-connect that answers whoever is signed in. Arguments: issuer, port, and `memory` if
// sessions are kept here and not in the cookie.
import express from 'express';
import oidc from 'express-openid-connect';
import memorystore from 'memorystore';

const [issuer, port, kept] = process.argv.slice(2);
const MemoryStore = memorystore(oidc.auth);
const app = express();
app.use(
  oidc.auth({
    issuerBaseURL: issuer,
    baseURL: `http://127.0.0.1:${port}`,
    clientID: 'benchmark',
    clientSecret: 'secret',
    secret: 'a secret of thirty-two characters at least',
    authorizationParams: { response_type: 'code', response_mode: 'query', scope: 'openid profile email' },
    session: kept === 'memory' ? { store: new MemoryStore({ checkPeriod: 3_600_000 }) } : {},
  }),
);
app.get('/auth', (request, response) => {
  response.set('X-Auth-Request-User', request.oidc.user.sub).set('X-Auth-Request-Email', request.oidc.user.email).end();
});
app.listen(port, '127.0.0.1');
