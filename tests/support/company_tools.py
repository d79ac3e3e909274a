"""A company with 500 tools in 20 domains, and questions that people ask of them.

The tools are made from tables: of each thing there are the usual five, and of each domain a few of its
own. The questions were written before the search was, half of them in the tools' words, half not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.tools import StructuredTool

VERBS = {
    "list": "List {plural}, newest first.",
    "get": "Return one {one} with all of its fields.",
    "create": "Create a {one}.",
    "update": "Change fields of a {one}.",
    "delete": "Delete a {one}. This cannot be undone.",
}

THINGS = {
    "billing": "invoice, credit note, payment method, tax rate",
    "subscriptions": "subscription, plan, coupon, usage record",
    "hr": "employee, job opening, leave request, department",
    "payroll": "payslip, salary, bonus, deduction",
    "github": "repository, issue, pull request, branch",
    "ci": "pipeline, build, runner, artifact",
    "calendar": "event, calendar, meeting room, reminder",
    "mail": "message, mail folder, mail filter, signature",
    "chat": "channel, chat message, emoji, user group",
    "inventory": "product, stock level, warehouse, stock count",
    "orders": "order, cart, return request, gift card",
    "shipping": "shipment, parcel, carrier, delivery zone",
    "crm": "contact, company, deal, note",
    "marketing": "campaign, newsletter, landing page, audience segment",
    "support": "ticket, macro, help article, satisfaction survey",
    "cloud": "virtual machine, disk, load balancer, dns record",
    "databases": "database, table, database user, backup",
    "security": "api key, role, vulnerability, firewall rule",
    "files": "file, folder, share link, comment",
    "travel": "trip, flight booking, hotel booking, expense report",
}
"""Four things of each domain."""

SPECIALS = """
billing.refund_payment payment_id,amount: Return money for a captured payment to the card it came from.
billing.send_invoice invoice_id: E-mail an invoice to the customer as a PDF.
billing.void_invoice invoice_id,reason: Make an open invoice invalid without deleting it.
billing.list_overdue_invoices days: List invoices that are past their due date and not paid.
billing.charge_customer customer_id,amount,currency: Take a one-off amount from the customer's default card.
billing.get_revenue_report start,end: Sum up income by month between two dates.
subscriptions.cancel_subscription subscription_id,at_period_end: End a subscription now or at the end of the period.
subscriptions.pause_subscription subscription_id,until: Stop charging for a while and keep the subscription.
subscriptions.change_plan subscription_id,plan_id: Move a subscriber to another plan, prorated.
subscriptions.extend_trial subscription_id,days: Give more days of free trial.
subscriptions.get_churn_rate month: Share of subscribers that left in a month.
subscriptions.preview_proration subscription_id,plan_id: Compute what a change of plan would cost today.
hr.approve_leave request_id,approver_id: Accept a request for days off.
hr.get_vacation_balance employee_id: Days of paid leave that a person has left this year.
hr.get_org_chart department_id: Who reports to whom, as a tree.
hr.terminate_employee employee_id,last_day: End an employment and start offboarding.
hr.schedule_interview candidate_id,start,interviewers: Plan a job interview and invite those who take part.
hr.record_performance_review employee_id,score,text: Store the yearly appraisal of a person.
payroll.run_payroll month: Compute and release the pay of all staff for a month.
payroll.get_tax_withholding employee_id,year: Income tax that was kept back from a person's pay.
payroll.set_bank_account employee_id,iban: Store the account that wages are transferred to.
payroll.export_payroll_journal month: Journal entries of a month's pay for the accountants, as CSV.
payroll.reimburse_expense employee_id,amount: Pay back what a person has spent, with the next salary.
payroll.get_overtime_hours employee_id,month: Hours worked beyond the contract.
github.merge_pull_request repo,number,method: Merge an approved pull request into its base branch.
github.request_review repo,number,reviewers: Ask people to review a pull request.
github.search_code query,repo: Find lines of source code that match a pattern.
github.list_commits repo,branch,since: History of changes of a branch.
github.fork_repository repo,owner: Make a copy of a repository under another account.
github.add_label repo,number,label: Put a label on an issue or pull request.
ci.trigger_build pipeline_id,branch: Start a build of a branch.
ci.cancel_build build_id: Stop a build that is running.
ci.get_build_log build_id: Output of a build, line by line.
ci.rollback_deployment environment,version: Put an earlier version back into an environment.
ci.deploy_release environment,version: Roll a version out to an environment.
ci.list_flaky_tests pipeline_id,days: Tests that sometimes fail without a change of the code.
calendar.find_free_slots attendees,duration,start,end: Times at which all attendees are available.
calendar.reschedule_event event_id,start: Move a meeting to another time and tell the attendees.
calendar.respond_to_invitation event_id,answer: Accept or decline an invitation.
calendar.book_meeting_room room_id,start,end: Reserve a room for a time.
calendar.set_working_hours user_id,start,end: Hours in which a person can be invited.
calendar.share_calendar calendar_id,user_id,permission: Let another person see or edit a calendar.
mail.send_email to,subject,body: Send a mail to one or more recipients.
mail.reply_to_message message_id,body: Answer the sender of a mail.
mail.forward_message message_id,to: Pass a mail on to somebody else.
mail.search_mail query,folder: Full-text search over the mailbox.
mail.mark_as_spam message_id: Move a mail to the junk folder and learn from it.
mail.set_out_of_office start,end,text: Answer automatically while a person is away.
chat.post_message channel,text: Write into a channel.
chat.send_direct_message user_id,text: Write to one person in private.
chat.invite_to_channel channel,user_ids: Add people to a channel.
chat.pin_message channel,message_id: Keep a message at the top of its channel.
chat.set_status user_id,text,emoji: Show others what a person is doing.
chat.search_messages query,channel: Find what was written.
inventory.check_availability sku,warehouse_id: How many units can be sold right now.
inventory.reserve_stock sku,quantity,order_id: Hold units for an order so that nobody else can buy them.
inventory.transfer_stock sku,quantity,source,target: Move units from one warehouse to another.
inventory.list_low_stock threshold: Products of which few units are left.
inventory.create_purchase_order supplier_id,lines: Order goods from a supplier.
inventory.forecast_demand sku,weeks: Predict how many units will be sold.
orders.cancel_order order_id,reason: Stop an order that has not been shipped.
orders.get_order_status order_id: Where an order is in its processing.
orders.apply_discount order_id,code: Reduce the total of an order by a promotion code.
orders.split_order order_id,lines: Divide one order into two.
orders.get_order_history customer_id: Everything that a customer has ever bought.
orders.flag_fraud order_id,reason: Hold back an order that looks suspicious.
shipping.track_parcel tracking_number: Last known place of a parcel and when it will arrive.
shipping.print_label shipment_id,format: Shipping label as PDF or ZPL.
shipping.quote_rates origin,destination,weight: Compare what carriers ask for a delivery.
shipping.schedule_pickup carrier_id,date: Have a carrier collect parcels.
shipping.validate_address street,city,postcode,country: Check that a postal address exists.
shipping.estimate_customs_duty value,country,hs_code: Import charges for goods that cross a border.
crm.convert_lead lead_id: Turn a prospect into a contact with a deal.
crm.merge_contacts first_id,second_id: Make one out of two entries for the same person.
crm.log_call contact_id,duration,summary: Keep a record of a phone conversation.
crm.get_sales_pipeline owner_id: Open deals by stage, with their value.
crm.assign_owner deal_id,user_id: Make a salesperson responsible for a deal.
crm.enrich_company domain: Look up size, industry and address of a firm from public sources.
marketing.schedule_campaign campaign_id,start: Set when a campaign goes out.
marketing.get_campaign_metrics campaign_id: Opens, clicks and conversions of a campaign.
marketing.unsubscribe_recipient email: Take an address off all mailing lists.
marketing.run_ab_test campaign_id,variants: Compare two versions of a mail on part of the audience.
marketing.post_to_social network,text: Publish on a social network.
marketing.suggest_keywords topic: Search terms that are worth advertising on.
support.assign_ticket ticket_id,agent_id: Give a ticket to an agent.
support.escalate_ticket ticket_id,level: Raise a ticket to the next level of support.
support.close_ticket ticket_id,resolution: Mark a ticket as solved.
support.merge_tickets first_id,second_id: Join two tickets about the same thing.
support.get_response_times team,month: How long customers waited for a first answer.
support.search_help_articles query: Find answers in the knowledge base.
cloud.start_virtual_machine machine_id: Boot a machine that is stopped.
cloud.stop_virtual_machine machine_id: Shut a running machine down.
cloud.resize_disk disk_id,gigabytes: Make a volume larger.
cloud.get_cpu_usage machine_id,start,end: Processor load over time.
cloud.get_monthly_costs month,service: What was spent on the cloud, by service.
cloud.scale_group group_id,count: Change how many machines share a load.
databases.run_query database_id,sql: Execute SQL and return the rows.
databases.restore_backup backup_id,target: Bring a database back to an earlier state.
databases.explain_query database_id,sql: Show the plan by which SQL would be executed.
databases.list_slow_queries database_id,milliseconds: Statements that took long.
databases.create_index table,columns: Speed up lookups by columns of a table.
databases.rotate_database_password user_id: Give a database user a new password.
security.revoke_api_key key_id: Make a key unusable from now on.
security.grant_role user_id,role: Give a person the permissions of a role.
security.list_failed_logins hours: Sign-ins with a wrong password.
security.block_ip address,hours: Refuse traffic from an address.
security.scan_image image: Look for known holes in a container image.
security.get_audit_log start,end,actor: Who did what, and when.
files.upload_file path,content: Store a file.
files.download_file file_id: Content of a file.
files.move_file file_id,folder_id: Put a file into another folder.
files.search_files query: Find files by name or content.
files.convert_document file_id,format: Turn a document into another format, such as PDF.
files.restore_version file_id,version: Bring back an earlier version of a file.
travel.search_flights origin,destination,date: Find connections by plane with prices.
travel.search_hotels city,check_in,check_out: Find places to stay.
travel.check_in_flight booking_id,seat: Choose a seat and get the boarding pass.
travel.submit_expense_report report_id: Hand in a report of costs for approval.
travel.get_visa_requirements nationality,country: Papers that are needed to enter a country.
travel.get_per_diem country,date: Daily allowance for meals in a country.
"""
"""Six tools of each domain: `domain.name parameters: description`."""

QUESTIONS = """
refund a payment = billing.refund_payment
send the customer their money back = billing.refund_payment
which invoices have not been paid in time = billing.list_overdue_invoices
email the invoice to the client = billing.send_invoice
how much did we earn last quarter = billing.get_revenue_report
stop a customer's subscription = subscriptions.cancel_subscription
switch the subscriber to a cheaper plan = subscriptions.change_plan
prolong the free trial by a week = subscriptions.extend_trial
how many holidays does Anna have left = hr.get_vacation_balance
approve vacation request = hr.approve_leave
add a new staff member = hr.create_employee
who is whose manager = hr.get_org_chart
set up a job interview = hr.schedule_interview
pay out the wages for May = payroll.run_payroll
change the bank details of an employee = payroll.set_bank_account
overtime of an employee = payroll.get_overtime_hours
open a bug in the repo = github.create_issue
merge the PR = github.merge_pull_request
list recent commits on main = github.list_commits
grep the source code for a function = github.search_code
ship version 2.3 to production = ci.deploy_release
undo the last deployment = ci.rollback_deployment
why did the build fail, show the output = ci.get_build_log
find a time when everybody is free = calendar.find_free_slots
postpone tomorrow's meeting = calendar.reschedule_event
reserve a conference room = calendar.book_meeting_room
decline an invite = calendar.respond_to_invitation
send an e-mail = mail.send_email
automatic reply while I am on vacation = mail.set_out_of_office
DM a colleague = chat.send_direct_message
post something in the #general channel = chat.post_message
how many units of this product are in stock = inventory.check_availability
which articles are running out = inventory.list_low_stock
move goods between warehouses = inventory.transfer_stock
predict next month's sales of a product = inventory.forecast_demand
cancel an order = orders.cancel_order
what has this customer purchased before = orders.get_order_history
use a voucher code on an order = orders.apply_discount
where is my package = shipping.track_parcel
cheapest carrier for a delivery = shipping.quote_rates
is this address valid = shipping.validate_address
duplicate contacts, merge them = crm.merge_contacts
turn the lead into a customer = crm.convert_lead
click rate of the campaign = marketing.get_campaign_metrics
remove someone from the mailing list = marketing.unsubscribe_recipient
hand the ticket to another agent = support.assign_ticket
resolve a support case = support.close_ticket
shut down the server = cloud.stop_virtual_machine
how much do we spend on cloud services = cloud.get_monthly_costs
cpu load of a machine = cloud.get_cpu_usage
exectue sql = databases.run_query
slow statements in the database = databases.list_slow_queries
recover the database from a snapshot = databases.restore_backup
disable a leaked api key = security.revoke_api_key
who logged in with a wrong password = security.list_failed_logins
ban an IP address = security.block_ip
export a document as PDF = files.convert_document
bring back yesterday's version of the file = files.restore_version
flights from Berlin to Oslo = travel.search_flights
find accommodation in Rome = travel.search_hotels
"""
"""`question = the tool that answers it`. These were at hand while the search was written."""

HELD_OUT = """
give a customer a partial refund on their card = billing.refund_payment
mark an invoice as invalid = billing.void_invoice
take 20 euros from the customer's card once = billing.charge_customer
put the subscription on hold until autumn = subscriptions.pause_subscription
what would upgrading the plan cost = subscriptions.preview_proration
share of customers lost in March = subscriptions.get_churn_rate
dismiss an employee = hr.terminate_employee
yearly appraisal = hr.record_performance_review
list open positions = hr.list_job_openings
how much income tax was withheld = payroll.get_tax_withholding
ask a colleague for a code review = github.request_review
clone the repository to my account = github.fork_repository
tag an issue = github.add_label
abort the running build = ci.cancel_build
tests that fail at random = ci.list_flaky_tests
accept the meeting invitation = calendar.respond_to_invitation
give my assistant access to my calendar = calendar.share_calendar
answer an email = mail.reply_to_message
this mail is junk = mail.mark_as_spam
look for an old email about contracts = mail.search_mail
add people to the channel = chat.invite_to_channel
order more goods from the vendor = inventory.create_purchase_order
put items aside for a customer's order = inventory.reserve_stock
order looks fraudulent = orders.flag_fraud
get a shipping label = shipping.print_label
have the courier collect our parcels = shipping.schedule_pickup
import duties for a shipment to Switzerland = shipping.estimate_customs_duty
note down a telephone call with a client = crm.log_call
deals in the sales pipeline = crm.get_sales_pipeline
tweet an announcement = marketing.post_to_social
A/B test of a newsletter = marketing.run_ab_test
escalate a ticket = support.escalate_ticket
knowledge base search = support.search_help_articles
boot a VM = cloud.start_virtual_machine
enlarge the volume = cloud.resize_disk
query plan of a statement = databases.explain_query
change the db user's password = databases.rotate_database_password
give Tom admin permissions = security.grant_role
check a docker image for vulnerabilities = security.scan_image
who changed what in the system yesterday = security.get_audit_log
upload a document = files.upload_file
do I need a visa for Japan = travel.get_visa_requirements
hand in my travel expenses = travel.submit_expense_report
meal allowance abroad = travel.get_per_diem
"""
"""The same; not looked at while the search was tuned."""


def build_tools() -> dict[str, list[StructuredTool]]:
    """Return the tools by domain: 25 of each."""
    return {domain: list(_tools(domain)) for domain in THINGS}


def _tools(domain: str) -> Iterator[StructuredTool]:
    for line in SPECIALS.strip().splitlines():
        head, about = line.split(": ", 1)
        name, parameters = head.split(" ")
        if name.startswith(f"{domain}."):
            yield _tool(name.partition(".")[2], about, parameters.split(","))
    made = 0
    for thing in THINGS[domain].split(", "):
        slug = thing.replace(" ", "_")
        plural = (
            f"{slug[:-1]}ies" if slug.endswith(("y",)) and slug[-2] not in "aeiou" else f"{slug}s"
        )
        for verb, about in VERBS.items():
            if made < 19:
                made += 1
                name = f"{verb}_{plural if verb == 'list' else slug}"
                text = about.format(one=thing, plural=plural.replace("_", " "))
                yield _tool(name, text, _usual(verb, slug))


def _usual(verb: str, slug: str) -> list[str]:
    own = {"list": ["limit", "cursor"], "create": ["fields"], "update": [f"{slug}_id", "fields"]}
    return own.get(verb, [f"{slug}_id"])


def _tool(name: str, about: str, parameters: list[str]) -> StructuredTool:
    async def answer(**arguments: Any) -> Any:
        return {"tool": name, "arguments": sorted(arguments)}

    properties = {
        p: {"type": "integer"}
        if p in ("limit", "days", "quantity", "hours")
        else {"type": "string"}
        for p in parameters
    }
    schema = {"type": "object", "properties": properties, "required": parameters[:1]}
    return StructuredTool(name=name, description=about, args_schema=schema, coroutine=answer)


def read_questions(text: str) -> list[tuple[str, str]]:
    """Return pairs of a question and the tool that answers it."""
    return [
        (question.strip(), tool.strip())
        for question, tool in (line.rsplit("=", 1) for line in text.strip().splitlines())
    ]
