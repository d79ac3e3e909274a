"""Which keys of dictionaries are names of fields, and which are data. Pure.

A key is text, and text may be anybody's: an address, an id, the name of a person. Only what is made of
words that fields are called, or looks like an identifier that a programmer chose, may be shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from langchain_ptc.catalog.names import split_words

_MAX_KEY_CHARS = 40
_SAFE = re.compile(r"[@$]?[^\W\d][\w:. -]*")
_PLAIN = re.compile(r"[^\W\d]\w*")
_HOST = re.compile(r"\.(?:app|biz|com|dev|edu|gov|info|io|net|org)$", re.IGNORECASE)
_MIXED = re.compile(r"\d[A-Za-z]+\d")
"""Letters between digits: ids."""
_CODE = re.compile(r"[A-Z\d_]+")
"""Nothing but capitals: currencies, shares, airports."""
_NUMBERED = re.compile(r"(.*?)\d+")

_FIELDS = """
access account accounts accuracy action actions active activity actor added address addresses
after age agent airline airport alias all allowed alt altitude amount amounts answer answers api
app application applied apps approved archived area arg args array arrival article artist asset
assets assignee assignees at attachment attachments attempts attribute attributes audience author
authors auth auto availability available average avatar avg backup bad bag balance bar base base64
batch baz before begin billing bio birth birthday block blocked board body book booking books bool
bottom branch branches brand bucket budget bug build builds bytes calendar call calls cancelled
canceled capacity caption car card cards cart carrier cases cash categories category cause cell
cents chain change changed changes channel channels char chars charge charges chat check checked
checks checksum child children choice choices chunk cities city class clicks client clients closed
close cloud code codes col color colors colour column columns comment comments commit commits
company completed completion component components condition conditions confidence config
confirmed connection contact contacts container content contents context contract coordinates
copy cost costs count counter countries country coupon course cover cpu created creation creator
credit credits criteria currency current cursor custom customer customers cut daily data dataset
date dates day days deadline debit default deleted delivered delivery delta demand department
departure depth desc description destination detail details device devices diff difference digest
direction director disabled discount disk display distance district doc docs document documents
domain domains done double download downloads downloaded draft driver due duration duplicate
duplicates edge edges edited edition education elapsed email emails employee employees employer
empty enabled encoding end ended ending endpoint engine entities entity entries entry env
environment error errors estimate estimated eta etag event events exact example exchange exists
exit expense expenses expiration expired expires expiry extension extra factor failed failure
false family favorite feature features fee feedback feelslike fees feels field fields file filename
files filter filters final finish finished first fixed flag flags flight flights float folder
folders followers following foo forecast fork forks format formatted forward found frequency
friends from full function fund gain game gender generated genre geo given goal good grade gross
group groups growth guest guests guid handle has hash head header headers heading headline health
height help high highest history hits home host hostname hotel hour hourly hours html http https
humidity icon id identifier ids image images impressions in inbound included income increase index
indices industry info information initial input inputs install instance instances instructions int
interest interval inventory invoice invoices ip ipv4 ipv6 is isbn iso issue issues item items job
jobs join joined json key keys keyword keywords kind kinds label labels lang language languages
last lat latency latest latitude layer lead leads left length letter level levels license
lifetime like likes limit limits line lines link links list lists lng load loan local locale
location locations locked log login logo logs lon long longitude low lowest machine mail main major
manager margin markdown market markets master match matched matches matching max maximum md5 mean
measure media median member members memory merchant merged message messages meta metadata method
metric metrics middle milestone mime min minimum minor minutes missing mobile mode model models
modified module month monthly months more movie movies mtime name names namespace native net
network new next nickname node nodes normal not note notes notification null num number numbers
object objects of offers office offset ok old on online open opened operation operator opt option
options order ordered orders org organisation organization origin original os other others out
outcome output outputs outstanding overall overdue owner owners package page pages paid pair param
parameter parameters params parent part participants parts pass passed passengers password patch
path paths patient payload payment payments pending per percent percentage perfect period
permission permissions person phase phone phones photo photos picture pin ping pixels place
places plan platform player players plays point points policy pop population port ports position
positive post postal posts power precipitation precision preference prefix pressure preview
previous price prices primary priority private probability process product products profile
profit progress project projects properties property protocol provider province public published
publisher pull purchase purchased purpose push quantity quarter queries query question queue
quota quote qux rain range rank rate rates rating ratings ratio raw reach read reads ready real reason
receipt received recipient recipients record records ref reference references refund refunded
refs refunds region registered registration rejected related relation release released
remaining remote removed repeat replies reply repo report reports repos repository request
requests required res reserved resolution resolved resource resources response result results
retries retry return returned returns revenue review reviews revision right role roles room rooms
root route routes row rows rule rules run running runs salary sale sales sample samples saved scale
scope score scores screen search season seat seats secret section sections segment selected
seller sender sent sentence sentiment sequence serial series server servers service services
session sessions set settings severity sex sha sha1 sha256 sha512 shape shard share shared shares
shift ship shipped shipping short show side signature similarity since site sites size sizes skill
skills skip skipped sku slot slots slug snippet snow social sold song source sources spam span
speed spent stage stale standard star stars start started starting starts state statement states
stats statuses status std step steps stock stop storage store stored stores street string strings
style sub subject subscription success successful suffix suggestion suggestions sum summary
sunrise sunset supplier support supported symbol symbols sync system systems table tables tag
tags target task tasks tax taxes team teams temp temperature template term terms test tested tests
text thread threads threshold thumb thumbnail ticker ticket tickets tier tile time timeout times
timestamp timestamps timezone title titles to today token tokens tool tools top topic topics total
totals track tracking tracks traffic trailer transaction transactions transit translated
translation transport travel tree trend trial trip true type types tz unit units unread until
updated updates upload uploaded uptime uri uris url urls usage use used user username users uuid
valid validation validity value values variable variables variance variant variants vat vehicle
vendor vendors verified version versions video videos view viewer views visibility visible visits
volume votes vote wait warehouse warning warnings watchers weather web website week weekday
weekly weeks weight width wind window word words work worker workers workspace write year yearly
years zip zone zones
x1 x2 y1 y2 q1 q2 q3 q4 h1 h2 h3 p50 p75 p90 p95 p99 mp3 mp4 h264 utf8
"""
FIELD_WORDS = frozenset(_FIELDS.split())
"""What fields of records are called, in small letters."""


def is_known(key: str) -> bool:
    """Return whether a key is made of words that fields are called."""
    words = [word for word in split_words(key) if len(word) > 1 and not word.isdigit()]
    if not words:
        return len(key) == 1 or key.lower() in FIELD_WORDS
    return all(word in FIELD_WORDS for word in words) or "".join(words) in FIELD_WORDS


def looks_like_data(key: str) -> bool:
    """Return whether a key is an id, a code, a date, an address, a sentence, and no name of a field."""
    if key.lower() in FIELD_WORDS:
        return False
    if not key.isprintable() or len(key) > _MAX_KEY_CHARS or re.search(r"\d{3}", key):
        return True
    if _MIXED.search(key):
        return True
    if is_known(key) and _SAFE.fullmatch(key) and not _HOST.search(key):
        return False
    return _CODE.fullmatch(key) is not None or _PLAIN.fullmatch(key) is None


def numbered(keys: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Return the keys that differ in a number only, by what they share: `u1` and `u2` by `u`."""
    stems: dict[str, list[str]] = {}
    for key in keys:
        if match := _NUMBERED.fullmatch(key):
            stems.setdefault(match[1], []).append(key)
    return [(stem, found) for stem, found in stems.items() if len(found) > 1]
