"""Many runs that differ in what is studied: started, watched, and put into one table and one figure."""
