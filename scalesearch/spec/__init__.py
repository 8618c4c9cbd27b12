"""What a network is: frozen records, their cost and their scaling. Standard library only."""
