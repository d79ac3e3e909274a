"""Words of names and of plain English, as tools use them. Pure.

`split_words` takes names apart. `SYNONYMS` are groups of words that people exchange when they ask for a
tool: a lexical index alone finds only the tool's own words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_CLITIC = re.compile(r"(?<=\w)['\u2019](?:s|t|re|ve|ll|d|m)\b")
_WIDE = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]")
"""Scripts that put no spaces between words: each character stands for itself."""


def split_words(text: str) -> list[str]:
    """Return the words of a name or a text, in small letters and without accents.

    `getHTTPResponse_v2` gives `get`, `http`, `response`, `v`, `2`; `it's` gives `it`.
    """
    plain = _CLITIC.sub("", text)
    if plain.isascii():
        return [word.lower() for word in _PART.findall(plain)]
    words = (word.lower() for word in _PART.findall(_without_accents(plain)))
    return [part for word in words for part in (word if _WIDE.search(word) else [word])]


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return unicodedata.normalize("NFKC", "".join(c for c in parts if not unicodedata.combining(c)))


_STOP = """
a about again all already am an and any anybody anyone anything are as at be been being but by
can cannot could did do does doing done each else every everyone everything for from get gets
getting give given gives had has have having he her here hers him his how however i if in into is
it its itself just kindly let lets like may me might mine more most much must my myself need needs
needed no not now of off on once one only or other our ours out over own please she should so some
someone something such tell than that the their theirs them then there these they thing things
this those through to too tool tools toward under up us use used using very want wants wanted was
we were what whats when where which while who whom whose why will with within would yes you your
yours function functions api call
"""
STOP_WORDS = frozenset(_STOP.split())
"""Words of a question that say nothing about the tool that is asked for."""

_GROUPS = """
create add new make insert register open set_up build generate start append put draft compose
delete remove erase drop destroy discard purge wipe clear get_rid_of trash take_off
update edit change modify alter adjust revise patch correct fix amend set rewrite
get fetch retrieve read show view look_at look_up see load display pull obtain check return
list enumerate browse overview show every which
search find query look_for look_up locate discover filter grep seek
send deliver dispatch submit transmit mail forward
message text sms chat dm direct_message note
notify alert warn inform announce remind page let_know ping
email mail inbox e_mail message
cancel abort void revoke terminate withdraw call_off stop annul
stop halt end terminate kill pause suspend disable quit shut_down turn_off switch_off power_off
start begin launch run execute trigger initiate kick_off boot resume turn_on switch_on power_on
restart reboot reset bounce
pause suspend hold on_hold put_on_hold freeze snooze halt
enable activate turn_on switch_on unlock
disable deactivate turn_off switch_off suspend block revoke
approve accept confirm authorize authorise allow sign_off agree
reject deny decline refuse disapprove turn_down
refund reimburse reimbursement repay money_back chargeback pay_back give_back
pay payment settle remit payout pay_out
bill invoice statement billing
charge debit bill fee take
price cost rate fee quote tariff cheap cheapest cheaper expensive
buy purchase order acquire procure shop bought
sell sale sales sold selling
revenue income earn earnings sales turnover proceeds made
profit margin gain
subscription plan membership recurring subscriber
upgrade downgrade change switch
discount coupon promotion promo voucher rebate promo_code
customer client buyer shopper consumer
user person member people account profile someone
employee staff worker personnel colleague coworker workforce teammate
hire recruit onboard employ onboarding joiner new_hire
fire dismiss terminate offboard offboarding layoff lay_off let_go sack
leave vacation holiday pto absence time_off day_off days_off away out_of_office ooo
sick illness ill absence leave unwell
salary pay wage compensation payroll paycheck earnings income
payslip paycheck pay_stub payroll
bonus incentive reward
manager boss supervisor lead reports report_to
job position vacancy opening role
applicant candidate
interview hiring
meeting appointment event conference session get_together
schedule book plan arrange set_up organize organise timetable
reschedule move postpone shift delay push_back put_off
book reserve reservation booking hold set_aside put_aside
free available availability open slot
invite add attendee participant guest invitation
respond reply answer rsvp accept decline response
automatic auto automatically
room space venue
calendar agenda diary
reminder alarm alert
task todo to_do item action assignment
ticket case incident request issue
issue bug defect error problem fault
incident outage problem failure emergency downtime
assign allocate delegate owner hand_over give hand
close resolve finish complete done solve settle
reopen open_again
comment note remark annotation reply
feedback review survey opinion rating satisfaction nps
label tag mark categorize category
repository repo project codebase
branch fork
fork clone copy
commit revision change
merge combine join integrate unify dedupe duplicate
review inspect look_over code_review
pull_request pr merge_request
release version publish ship
deploy deployment release rollout roll_out ship publish production
rollback roll_back revert undo go_back
restore recover undelete bring_back revert get_back
build compile ci
pipeline workflow job ci
log logs trace output console
history log past previous record timeline ever
metric metrics stat stats statistic statistics measure kpi performance
click clicks ctr click_rate
monitor watch observe follow
status state progress condition health
error exception failure crash fail failed
flaky random randomly intermittent unstable sometimes
server machine host instance vm virtual_machine node computer
container docker pod image
cpu processor load
memory ram
disk volume storage drive
resize grow enlarge expand extend increase bigger larger
reduce shrink decrease lower smaller cut
extend prolong lengthen longer
scale resize capacity autoscale
database db sql table
sql statement query
index speed_up
slow long sluggish performance
backup snapshot dump
file document attachment doc
folder directory
upload attach store put save
download fetch content
export download dump extract save
import ingest upload bring_in
copy duplicate clone replicate
move transfer relocate migrate shift
rename call_name
share access collaborate let_see
permission access right privilege role
grant give allow permission
revoke remove withdraw invalidate disable
password credential login passphrase
login log_in sign_in signin logon sign_on logged
authenticate authentication sso mfa
secret key token credential
rotate renew refresh change new
stock inventory supply quantity on_hand
low few little running_out run_out short scarce
restock replenish reorder refill
warehouse depot storage
product item sku good goods article merchandise
shipment delivery parcel package consignment shipping
track trace follow where_is locate whereabouts
carrier courier shipper
collect pick_up pickup
supplier vendor seller
return rma send_back
address location place street
valid validate exist real check correct
map geocode coordinate coordinates
route direction directions path navigate drive
distance far how_far
weather forecast temperature rain climate
forecast predict projection predict estimate outlook
flight flights plane airline fly
hotel lodging accommodation stay
trip travel journey itinerary
report summary analytics analysis
summarize summarise summary digest recap tldr
chart graph plot diagram visualize
dashboard overview
compare difference diff versus
calculate compute work_out figure_out total sum how_much
convert transform turn_into translate exchange
translate translation language
lead prospect
deal opportunity sale
contact person
company firm business organization organisation org corporation
campaign marketing advertising
newsletter mailing
advertise ad ads advertising
keyword search_term search_terms
post publish tweet share
photo picture image
video clip movie film
song music track audio
call phone telephone dial phone_call
contract agreement
sign signature
expense spending cost receipt costs expenses
spend spent spending cost
budget allowance
allowance per_diem
tax vat gst duty customs
withhold withholding keep_back kept_back deduct deduction withheld
account ledger
balance left remaining
transfer wire send move
transaction payment
overdue late unpaid past_due not_paid not_been_paid in_arrears outstanding
duplicate double same twice
training course learning lesson
appraisal performance_review evaluation performance
department division unit
team group squad
birthday birth
verify check validate confirm
test try
lock block freeze
block ban blacklist refuse deny
spam junk
fraud fraudulent suspicious scam
unsubscribe opt_out
archive retire store
sort rank
recent latest last newest
count number many how_many
limit cap quota maximum
setting settings config configuration preference option
install set_up setup
configure config configuration set_up
subscribe follow watch
escalate raise
priority urgency importance severity
article page wiki faq
knowledge_base kb help_article faq wiki
webhook callback hook
kubernetes k8s cluster
dns domain
certificate cert ssl tls
vulnerability vulnerabilities cve hole holes security
scan check audit
audit compliance
audit_log who_did who_changed activity
traffic visits visitors
social twitter facebook linkedin instagram
visa passport
taxi cab ride uber lyft
car vehicle automobile
rent rental hire lease
restaurant dining eat table diner
food meal dish cuisine
recipe cook cooking dish
attraction attractions sight sights sightseeing places_to_visit landmark
movie film cinema movies films
show concert gig performance event
ticket tickets admission pass
volume loudness louder quieter sound mute
speech speak voice aloud out_loud say spoken audio
transcribe transcription speech_to_text dictate
light lamp lights bulb
device appliance gadget
thermostat heating heater temperature
image draw paint sketch illustration
news headlines headline
stock share shares equity ticker
currency exchange_rate forex money
investment invest portfolio holdings
crypto bitcoin coin cryptocurrency
wallet balance
loan mortgage credit borrow
insurance coverage
doctor physician medical clinic health
medicine drug medication prescription pill
train rail railway
bus coach
stop station
near nearest nearby close_to around closest
timezone time clock
website site webpage web_page page web
browser page tab
screenshot screen_capture
click press tap
scrape crawl extract fetch
home house apartment property real_estate
career job employment
human person agent operator
bot chatbot assistant
alarm wake wake_up timer
timer countdown stopwatch
cart basket shopping
favorite favourite like star bookmark
student pupil learner
school university college
grade mark score
book novel
exercise workout fitness
shell terminal console bash command command_line
command execute
script program code
regex pattern regular_expression
parse extract read
encrypt encryption cipher
decrypt decryption
compress zip archive
decompress unzip unpack extract
hash checksum digest
embedding vector embed
similar alike related like
recommend recommendation suggest suggestion suggestions advise
schedule appointment
appointment visit booking
donate donation
screen display monitor
temperature warm cold hot heat
lock unlock
camera photo video
language locale
spreadsheet excel sheet xlsx
slide slides presentation powerpoint
pdf document
thread conversation discussion
mention tag
code source source_code
ip ip_address
id identifier
info information details
"""


_EQUALS = """
dm direct_message
pr pull_request merge_request
vm virtual_machine
repo repository
db database
msg message
sms text_message
email e_mail
ooo out_of_office
kb knowledge_base
k8s kubernetes
ci continuous_integration
cv resume
po purchase_order
mfa 2fa two_factor
login log_in sign_in
env environment
config configuration
auth authentication authorization
admin administrator
app application
org organization organisation
info information
doc document
docs documents documentation
dir directory folder
img image
pic picture
pkg package
lib library
param parameter
qty quantity
avg average
max maximum
min minimum
stats statistics
temp temperature
addr address
lat latitude
lng longitude
id identifier
ip ip_address
url link web_address
fx exchange_rate foreign_exchange
ad advertisement
authorise authorize
organise organize
cancelled canceled
colour color
"""


def _read_groups() -> Mapping[str, Mapping[str, float]]:
    """Return, for each word of a group, the others of it."""
    found: dict[str, dict[str, float]] = {}
    for text, to_first, to_others in (_GROUPS, 0.65, 0.5), (_EQUALS, 0.95, 0.95):
        for line in text.strip().splitlines():
            group = [" ".join(split_words(word)) for word in line.split()]
            for word in group:
                near = found.setdefault(word, {})
                for other in group:
                    weight = to_first if group[0] in (word, other) else to_others
                    if other != word:
                        near[other] = max(weight, near.get(other, 0.0))
    return found


SYNONYMS = _read_groups()
"""For a word or phrase, in small letters: those that may be meant by it, and how surely, from 0 to 1.

The first word of a group is what tools are mostly called, the rest is what people say: two of the rest
are less near to each other than to the first.
"""
MAX_PHRASE_WORDS = 3
"""Words of the longest phrase among the synonyms."""
