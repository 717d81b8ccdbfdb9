"""Who may do what, and how much of it: what a call is judged by before it is carried out."""
