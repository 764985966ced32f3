"""Samplers judged on tables of networks that others have trained: a search is replayed in seconds.

table.py   a tabular benchmark        replay.py   one search on it, measured
judge.py   samplers by tables and budgets
"""
