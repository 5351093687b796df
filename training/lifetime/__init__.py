"""Orders to come and their value, customer by customer, from nothing but when and for how much each has ordered."""
