"""The machine room: takes this computer and its price, gives what it is and what work costs."""
