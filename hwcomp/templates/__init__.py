"""Files that hwcomp fills in."""
