"""A provider that asks nobody anything, as a process of its own: what a code says is who signs in.

A code is the nonce, `~` and the person. Id tokens and logout tokens are signed by HS256 under the client's secret, which
the standard library can do; access tokens by RS256, beforehand, by openssl.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

CLIENT_ID, SECRET = "soak", "a secret of at least thirty-two characters"
AUDIENCE = "https://api.example"
LIFE = 86_400


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(alg, typ, claims):
    parts = ({"alg": alg, "typ": typ, "kid": "soak"}, claims)
    return ".".join(base64url(json.dumps(part).encode()) for part in parts)


def by_secret(typ, claims):
    """A token of this type, signed by the client's secret."""
    text = unsigned("HS256", typ, claims)
    return f"{text}.{base64url(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


def sid(nonce):
    """What the session of this nonce is called at the provider."""
    return hashlib.sha256(nonce.encode()).hexdigest()[:32]


def logout_token(issuer, session, number):
    """Ends the session of that name; each number once."""
    now = int(time.time())
    event = {"http://schemas.openid.net/event/backchannel-logout": {}}
    claims = {"iss": issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": f"logout-{number}", "sid": session}
    return by_secret("logout+jwt", claims | {"events": event})


class Keys:
    """An RSA key of openssl's making."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="lychgate-soak-")
        self.file = Path(self.folder.name) / "key.pem"
        self.openssl("genrsa", "-out", str(self.file), "2048")
        modulus = self.openssl("rsa", "-in", str(self.file), "-noout", "-modulus").decode().strip().removeprefix("Modulus=")
        self.jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "soak", "e": "AQAB", "n": base64url(bytes.fromhex(modulus))}

    @staticmethod
    def openssl(*arguments, data=None):
        return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout

    def access_token(self, issuer, number):
        now = int(time.time())
        claims = {"iss": issuer, "aud": AUDIENCE, "sub": f"script-{number}", "iat": now, "exp": now + LIFE}
        text = unsigned("RS256", "at+jwt", claims | {"client_id": f"script-{number}", "jti": str(number)})
        return f"{text}.{base64url(self.openssl('dgst', '-sha256', '-sign', str(self.file), data=text.encode()))}"


class Provider:
    def __init__(self):
        self.keys, self.issuer, self.refreshed = Keys(), "", 0

    def answer(self, path, form):
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "revocation_endpoint": f"{self.issuer}/revoke",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["HS256", "RS256"],
                "code_challenge_methods_supported": ["S256"],
                "backchannel_logout_supported": True,
                "backchannel_logout_session_supported": True,
            }
        if path == "/keys":
            return {"keys": [self.keys.jwk]}
        if path == "/token":
            return self.tokens(form)
        return {}

    def tokens(self, form):
        now = int(time.time())
        known = form.get("code") or form["refresh_token"].rsplit(".", 1)[0]
        nonce, person = known.split("~")
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + LIFE, "sub": f"soak|{person}", "sid": sid(nonce)}
        claims |= {"name": f"Person {person}", "email": f"{person}@example.com", "email_verified": True}
        if "code" in form:
            claims["nonce"] = nonce
        self.refreshed += 1
        return {
            "id_token": by_secret("JWT", claims),
            "access_token": f"opaque-{self.refreshed}",
            "refresh_token": f"{known}.{self.refreshed}",
            "token_type": "Bearer",
            "expires_in": LIFE,
            "scope": "openid profile email offline_access",
        }

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                path = lines[0].split(" ")[1]
                length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
                body = (await reader.readexactly(length)).decode()
                text = json.dumps(self.answer(path, dict(urllib.parse.parse_qsl(body)))).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def run(self, tokens):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.issuer = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        bearers = [self.keys.access_token(self.issuer, number) for number in range(tokens)]
        print(json.dumps({"issuer": self.issuer, "bearers": bearers}), flush=True)
        # Whoever started it ends it, at the latest by ending itself.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(Provider().run(int(sys.argv[1])))
