"""What changes a store that is there: repair, and deleting what nobody needs."""
