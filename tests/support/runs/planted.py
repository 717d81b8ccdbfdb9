"""A made corpus with planted duplicates, personal data, secrets, leaks and languages: what preparing should find."""

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]

_SUBJECTS = """\
the team; our neighbour; a driver; the old library; this engine; a young teacher; the council; my sister; the harbour
a visitor; the bakery; every student; the garden; one of the players; the museum; a small company"""
_VERBS = """\
opens; repairs; visits; describes; has closed; would like to see; talks about; remembers; will sell; measures
is proud of; never mentions; has moved to; looks after; pays for; waits for"""
_OBJECTS = """\
the long bridge; a box of letters; the winter market; an empty room; the second floor; a list of names; that report
a bicycle with red wheels; the new timetable; a bag of flour; the quiet street; an idea that nobody had; the boat"""
_ENDS = """\
before the rain; with a friend; on a Tuesday; of all things; to be sure; and that is all; for the first time; at noon
because it was late; when the lights go out; as usual; after lunch; by the sea; and the others have to wait"""
_PARTS = [re.split(r"; |\n", part) for part in (_SUBJECTS, _VERBS, _OBJECTS, _ENDS)]
_GERMAN = (
    "Der Zug nach {} fährt heute leider nicht, weil die Strecke nach dem Sturm noch gesperrt ist. Wir bitten alle \
Fahrgäste, den Bus {} zu nehmen, der vor dem Bahnhof hält und etwa {} Minuten länger braucht."
)
_FRENCH = (
    "Le marché de {} est fermé jusqu'à la fin du mois parce que la mairie fait réparer les fontaines. Les {} marchands "
    "qui vendent des légumes se trouvent pour {} jours dans la grande rue derrière l'église."
)

_PERSONAL = {
    "EMAIL_ADDRESS": ("maria.lopez@example.org", "t.w+n@mail.example.com", "info@müller.de", "x_1@sub.example.net"),
    "PHONE_NUMBER": ("+1 212-555-0187", "(415) 555-2671", "+49 30 901820", "+44 20 7946 0958"),
    "CREDIT_CARD": ("4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "6011000990139424"),
    "IBAN_CODE": ("DE89370400440532013000", "GB29NWBK60161331926819",
                  "FR1420041010050500013M02606", "NL91ABNA0417164300"),
    "IP_ADDRESS": ("203.0.113.77", "198.51.100.23", "2001:db8:85a3::8a2e:370:7334", "192.0.2.146"),
    "US_SSN": ("536-90-4399", "219-09-9998", "457-55-5462", "521-44-8801"),
}  # fmt: skip
_SECRETS = {
    "AWS": ("AKIAIOSFODNN7EXAMPLE", "AKIAQX2TPL5WJ7NYB3KD"),
    "GITHUB": ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_x8TqLw20VbRz5nYcKd7JfHs3MgPa91UeWoXi"),
    "SLACK": ("xoxb-263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1",),
    "JWT": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",),
    "KEY": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq5\nq0Lx7Tn2\n-----END RSA PRIVATE KEY-----",),
    "PASSWORD": ('password = "tr0ub4dor&3x"', 'db_password: "S3cr3t-Horse-Battery"'),
    "URL": ("https://deploy:hunter2secret@git.example.com/repo",),
    "STRIPE": ("sk_live_4eC39HqLyjWDarjtT1zdp7dc",),
}  # fmt: skip
_HARMLESS = (
    "version 1.2.3 of 2024-05-01", "order 4711 of page 1234", "at 12:30, gate 7",
    "commit 9fceb02d0ae598e95dc970b74767f19372d6c0b1", "the password is kept by the caretaker",
    "room 12-34, floor 5", "1,234,567 visitors", "id 123e4567-e89b-12d3-a456-426614174000",
    "write to @maria", "password: see the manual", "chapter 3.14.15", "a token of thanks",
)  # fmt: skip
_DISGUISED = ("maria at example dot org", "extension 0187", "four one one one, then eight ones")
SECRET_LEFT = "maria.lopez@example.org"


class Corpus:
    """The corpus.

    Attributes:
        train: rows to train, each with what it was `planted` as.
        held_out: rows that are held out.
        edited: texts, and what one to four edits made of them.
    """

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)
        self.train: Rows = []
        self.held_out: Rows = []
        self.edited: list[tuple[str, str]] = []
        clean = [self._add(self._text(), "clean") for _ in range(500)]
        for index, text in enumerate(clean[:50]):
            self._add(text.upper() if index % 2 else text.replace(". ", ".  \n"), "duplicate")
        for index, text in enumerate(clean[50:170]):
            self.edited.append((text, self._add(self._edited(text, 1 + index % 4), "near duplicate")))
        for text in clean[170:230]:
            self._add(self._half(text), "half alike")
        self._plant()

    def write(self, folder: Path) -> None:
        """As train.jsonl, in random order, and test.jsonl."""
        mixed = self._random.sample(self.train, len(self.train))
        for name, rows in (("train", mixed), ("test", self.held_out)):
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text("".join(lines))

    def planted(self) -> Counter[str]:
        """Kind -> rows to train of it."""
        return Counter(row["planted"] for row in self.train)

    def _plant(self) -> None:
        for several in _PERSONAL.values():
            for value in several * 3:
                self._add(self._with(value), "personal data")
        for several in _SECRETS.values():
            for value in (several * 6)[:6]:
                self._add(self._with(value), "secret")
        for value in _HARMLESS * 5:
            self._add(self._with(value), "harmless")
        for value in _DISGUISED * 5:
            self._add(self._with(value), "disguised")
        for index in range(40):
            words = (f"Neu{index}stadt", index + 2, index * 3 + 4)
            self._add((_GERMAN if index % 2 else _FRENCH).format(*words) + f" ({index})", "language")
        for index in range(60):
            text = self._text()
            self.held_out.append({"text": text})
            size, kind = ((16, "leak"), (9, "short passage"))[index % 2]
            words = text.split()
            start = self._random.randrange(len(words) - size)
            self._add(f"{self._text()} {' '.join(words[start : start + size])} {self._text()}", kind)

    def _add(self, text: str, kind: str) -> str:
        self.train.append({"text": text, "number": f"r{len(self.train)}", "planted": kind})
        return text

    def _sentence(self) -> str:
        subject, verb, thing, end = (self._random.choice(each) for each in _PARTS)
        syllables = ("ka", "ro", "vel", "mi", "sun", "dor", "ta", "lin")
        here, there = ("".join(self._random.choice(syllables) for _ in range(4)) for _ in range(2))
        # With names, no two sentences share 13 words by chance.
        return f"{subject} of {here} {verb} {thing} near {there} {end}.".capitalize()

    def _text(self) -> str:
        return " ".join(self._sentence() for _ in range(8))

    def _with(self, value: str) -> str:
        return f"{self._text()} {self._sentence()} {value} {self._sentence()}"

    def _edited(self, text: str, edits: int) -> str:
        words = text.split()
        for at in self._random.sample(range(len(words)), edits):
            words[at] = f"word{self._random.randrange(1000)}"
        return " ".join(words)

    def _half(self, text: str) -> str:
        return " ".join(text.split(". ")[:4]) + f". {self._text()}"
