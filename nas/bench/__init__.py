"""Samplers and rung rules judged on networks that were all trained before: a search is replayed in seconds.

table.py    a tabular benchmark            curves.py         recorded learning curves
replay.py   one search on it, measured     rung_replay.py    one search with rungs on them
judge.py    samplers by tables, budgets    rung_judge.py     rules by files, budgets
                                           rung_readings.py  what a rung tells of the end
"""
