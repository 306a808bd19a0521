"""Of the process that this is: its sockets, its time and its memory."""
