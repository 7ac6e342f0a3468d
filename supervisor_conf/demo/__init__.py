"""The small app of `portico demo`: standard library only, run like any app of a user (`python -m …`)."""
