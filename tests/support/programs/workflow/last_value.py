user = fetch_user(user_id="42")
emails = [user["email"].upper()]
open_orders = fetch_orders(user_id="42", status="open")
(emails, len(open_orders), {o["id"]: o["items"] for o in open_orders})
