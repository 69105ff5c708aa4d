"""The review of rows by people: what is asked, and a local page that asks it.

sample.py               the rows to read, and what a person has answered
server.py               the page's server, on this machine alone
page.html, page.js, page.css
"""
