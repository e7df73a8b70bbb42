"""Processes of a measurement. They import the standard library and `waitbus`, and so run under either program's interpreter."""
