"""Small programs that show whether a board computes what VTA computes, and what it means if not."""
