"""Runs as a web page: `mgrpo report` writes it into one file, `mgrpo watch` serves it while a run trains.

read.py         a run's directory, whatever state it is in
panels.py       the curves, as Plotly figures
completions.py  tables of completions, thinned to what fits into a file
bundle.py       all of that as the one JSON object that the page shows
page.py         the page around it: one self-contained HTML file that works offline
serve.py        the same page, live
assets/         HTML, CSS and JavaScript
"""
