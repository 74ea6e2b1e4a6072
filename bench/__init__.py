"""Measures the product against what the machine can do: ratios, interleaved, medians.

`python -m bench` measures every goal of goals.json whose time has come. A ratio compares the
product with a ceiling in the same run (a bare echo, a raw COPY, one INSERT per call), so that a
figure says something about the code and not about the machine. Never part of the tests.
"""
