"""The Django application of with_django.py: models and the migrations that lead to them."""
