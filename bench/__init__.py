"""Measurements, beside the program of 0.2 and the bare socket pair: `python -m bench` (`nox -s bench`), `python -m bench.soak`.

`sides` runs the programs, `proc` reads the kernel's account of a process, `rows` holds one function for each row of the table,
`figures` turns rounds into figures and verdicts, `workers` are the processes that emit, subscribe and replay: the same
scripts under both interpreters, with what both programs export. The method is told in docs/BENCHMARKS.md.
"""
