"""Each folder mirrors one of the project; `support` has what several use; here is what runs from end to end."""
