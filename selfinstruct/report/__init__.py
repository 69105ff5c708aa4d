"""The report: HTML pages about a run and about rounds.

page.py, template.html      the report of a run
collect.py                  its content as plain data
generation_stats.py         its part about generation
funnel.py                   its funnel, from proposals to instances
variety.py                  how varied what was written is
verb_object.py              the verb and the object of an instruction
mentions.py                 groups of people and personal data in rows
outcome.py                  its part about tuning and evaluation
side_by_side.py             answers of all models to the same questions
plots.py                    its figures, as inline SVG
rounds_page.py, rounds.html several rounds side by side
text.py                     texts that models wrote, made readable on a page
"""
