"""Worlds with known truth.

`jurat.simulate.assistant` draws a deployed assistant (organisations, users, conversations, two releases,
feedback, audits), `jurat.simulate.parameters` says what is planted in it, `jurat.simulate.truth` what a
correct method must find.
"""
