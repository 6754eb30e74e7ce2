"""Workers classify the parts of jobs. They do not use HTTP."""
