"""The report: HTML pages about a run and about rounds.

page.py, template.html      the report of a run
collect.py                  its content as plain data
generation_stats.py         its part about generation
outcome.py                  its part about tuning and evaluation
plots.py                    its figures, as inline SVG
rounds_page.py, rounds.html several rounds side by side
text.py                     texts that models wrote, made readable on a page
"""
