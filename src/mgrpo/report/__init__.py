"""Runs as a page to look at: `mgrpo report` writes it into one file, `mgrpo watch` serves it while a run goes on.

read.py         a run's directory, whatever state it is in
panels.py       which curves there are
completions.py  tables of completions, thinned to what fits into a file
bundle.py       all of that as the one JSON object that the page shows
page.py         the page around it: one HTML file that asks no host for anything
serve.py        the same page, live
assets/         HTML, CSS and JavaScript
"""
