"""A word in every field that a peer, a player or an operator can write, and the addresses of all pages that show it."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from bridge.core.model import id_from_text, id_text
from bridge.web.ops.words import REVIEW

__all__ = ["addresses", "write_everywhere"]

PLAIN = b"\0"  # how a sealed value begins where there is no key


def write_everywhere(file: Path, ext_message_id: str, word: str) -> None:
    """Puts a word wherever a peer, a player or an operator can write something, past every check."""
    message, now = id_from_text(ext_message_id), int(time.time() * 1000)
    sealed = PLAIN + word.encode()
    with closing(sqlite3.connect(file, timeout=10)) as database, database:
        run = database.execute
        run(
            "UPDATE messages SET gateway = :w, channel = :w, provider = :w, smartico_uid = :w, ext_user_id = :w,"
            " sender = :w, address_masked = :w, provider_message_id = :w, error_code = :w, error_text = :w, marks = :w,"
            " currency = :w, price = '1.50', state = 'failed', submitted_at = created_at WHERE id = :m",
            {"w": word, "m": message},
        )
        for table in (
            "callbacks", "error_texts", "inbound", "reports", "steps", "review_items", "audit", "communications",
            "forwards", "opt_outs", "opt_out_changes", "sends",
        ):  # fmt: skip
            run(f"DELETE FROM {table}")
        run(
            "INSERT INTO callbacks VALUES (?, x'01', 1, 0, ?, ?, ?, 'superseded', 1, ?, ?, 1, '1.50', ?, ?, ?)",
            (message, word, word, word, word, word, word, now, now),
        )
        run("INSERT INTO error_texts VALUES (?, ?, ?)", (word, word, word))
        run(
            "INSERT INTO inbound VALUES (?, ?, ?, x'00', ?, ?, ?, ?, ?, ?, ?)",
            (word, word, word, word, sealed, word, message, now, now, sealed),
        )
        run(
            "INSERT INTO reports (message_id, status, seq, lane, state, owed_at, last_error, attempts)"
            " VALUES (?, 'failed', 1, ?, 'dead', ?, ?, 3)",
            (message, f"{word}@{word}", now, word),
        )
        run(
            "INSERT INTO reports (message_id, status, seq, lane, state, owed_at, due_at, last_error, attempts)"
            " VALUES (?, 'accepted', 0, ?, 'pending', ?, ?, ?, 3)",
            (message, f"{word}@{word}", now, now + 10**9, word),
        )
        for kind in ("review", "report_dead", "revealed", word):
            run(
                "INSERT INTO steps (message_id, at, kind, detail, actor) VALUES (?, ?, ?, ?, ?)",
                (message, now, kind, word, word),
            )
        for kind in REVIEW:
            run(
                "INSERT INTO review_items (kind, cause, provider, state, first_at, last_at, sample)"
                " VALUES (?, ?, ?, 'open', ?, ?, ?)",
                (kind, word, word, now, now, sealed),
            )
        run(
            "INSERT INTO audit (at, actor, action, detail) VALUES (?, ?, ?, ?)",
            (now, word, word, json.dumps({"reason": word, word: word})),
        )
        run(
            "INSERT INTO communications VALUES (?, NULL, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (message, word, word, word, now, now, sealed, PLAIN + json.dumps({word: word}).encode(), message),
        )
        run(
            "INSERT INTO forwards (kind, source, key, payload, state, owed_at, last_error)"
            " VALUES ('communication', ?, ?, x'00', 'dead', ?, ?)",
            (id_text(message or b""), word, now, word),
        )
        subject = f"user:{word}"
        run("INSERT INTO opt_outs VALUES (?, ?, ?, ?)", (subject, word, now, word))
        run(
            "INSERT INTO opt_out_changes (subject, at, channel, change, reason) VALUES (?, ?, ?, ?, ?)",
            (subject, now, word, word, word),
        )
        run("DELETE FROM contacts")
        run(
            "INSERT INTO contacts VALUES (?, NULL, NULL, ?, NULL, NULL, ?, ?)",
            (word, word, word, now),
        )


def addresses(ext_message_id: str, word: str) -> list[str]:
    said = quote(word, safe="")
    asked = "&".join(
        f"{name}={said}"
        for name in ("query", "gateway", "channel", "provider", "error_code", "cause", "lane", "error")
    )
    return [
        "/ops/", "/ops/?range=1h", f"/ops/?channel={said}&provider={said}", "/ops/messages",
        f"/ops/messages/{ext_message_id}",
        f"/ops/messages?query={said}", f"/ops/messages?state=failed&{asked}", f"/ops/users?id={said}",
        "/ops/reports", "/ops/reports?state=pending", f"/ops/reports?state=dead&{asked}", "/ops/review", "/ops/costs",
        f"/ops/costs?channel={said}", "/ops/communications", f"/ops/communications?{asked}", "/ops/audit",
        f"/ops/messages?since={said}", f"/ops/messages/{said}", f"/ops/messages?cursor={said}",
        f"/ops/review?done={said}&replayed={said}",
    ]  # fmt: skip
