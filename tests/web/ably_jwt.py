"""PyJWT verifies the JWTs of `/v1/ably/token` as Ably does: with the secret of the key, HS256 alone.

Settings come by environment (`ARAUTO_URL`, `ABLY_KEY`); each check prints one JSON line; the first failure ends the
script.
"""

import json
import os
import sys
import time
import traceback

import httpx
import jwt

URL = os.environ["ARAUTO_URL"].rstrip("/")
KEY_NAME, SECRET = os.environ["ABLY_KEY"].split(":")
PREFIX = os.environ.get("ABLY_CHANNEL_PREFIX")
CALL_S = 10
HOUR_S = 3_600


def bearer(**identity: object) -> str:
    answer = httpx.post(f"{URL}/dev/token", json=identity, timeout=CALL_S)
    answer.raise_for_status()
    return answer.json()["token"]


def ably_token(**identity: object) -> httpx.Response:
    answer = httpx.get(
        f"{URL}/v1/ably/token",
        headers={"authorization": f"Bearer {bearer(**identity)}"},
        timeout=CALL_S,
    )
    answer.raise_for_status()
    return answer


def claims_of(token: str) -> dict:
    return jwt.decode(
        token,
        SECRET,
        algorithms=["HS256"],
        options={"require": ["iat", "exp", "x-ably-capability", "x-ably-clientId", "x-ably-revocation-key"]},
    )


def prefixed(channel: str) -> str:
    return f"{PREFIX}:{channel}" if PREFIX else channel


def a_token_says_who_may_hear_what() -> None:
    answer = ably_token(sub="ana", roles=["TECNICO"], units=["cras-1"], benefits=["natalidade"])
    assert answer.headers["content-type"] == "application/jwt", answer.headers
    assert jwt.get_unverified_header(answer.text) == {"typ": "JWT", "alg": "HS256", "kid": KEY_NAME}
    claims = claims_of(answer.text)
    assert set(claims) == {"iat", "exp", "x-ably-capability", "x-ably-clientId", "x-ably-revocation-key"}, claims
    assert claims["x-ably-clientId"] == "ana", claims
    assert claims["x-ably-revocation-key"].startswith("session."), claims
    assert isinstance(claims["x-ably-capability"], str), claims
    channels = ["private:benefit:natalidade", "private:unit:cras-1", "private:user:ana", "system"]
    rights = {prefixed(f"{channel}:notifications"): ["history", "subscribe"] for channel in channels}
    canonical = json.dumps(rights, separators=(",", ":"), sort_keys=True)
    assert claims["x-ably-capability"] == canonical, claims["x-ably-capability"]


def it_ends_with_the_session_and_after_an_hour() -> None:
    for ttl, longest in [(7_200, HOUR_S), (600, 600)]:
        claims = claims_of(ably_token(sub=f"bia-{ttl}", roles=["CIDADAO"], ttl_seconds=ttl).text)
        lives = claims["exp"] - claims["iat"]
        assert longest - 5 <= lives <= longest, (ttl, lives)
        assert claims["exp"] <= time.time() + longest, claims


def another_key_does_not_verify_it() -> None:
    token = ably_token(sub="ana", roles=["CIDADAO"]).text
    try:
        jwt.decode(token, f"{SECRET}x", algorithms=["HS256"])
    except jwt.InvalidSignatureError:
        return
    raise AssertionError("another secret verified it")


def main() -> int:
    for check in [
        a_token_says_who_may_hear_what,
        it_ends_with_the_session_and_after_an_hour,
        another_key_does_not_verify_it,
    ]:
        try:
            check()
        except Exception as error:  # noqa: BLE001
            print(json.dumps({"check": check.__name__, "ok": False, "error": str(error)[:600]}), flush=True)
            traceback.print_exc()
            return 1
        print(json.dumps({"check": check.__name__, "ok": True}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
