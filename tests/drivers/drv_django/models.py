"""Two models, as they are after the last migration."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Author(models.Model):
    """Somebody with a state and tags."""

    name = models.CharField(max_length=80, unique=True)
    mood = models.CharField(max_length=10, default="sad")
    tags = ArrayField(models.TextField(), default=list)
    data = models.JSONField(null=True)
    born = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["mood"], name="drv_django_mood")]


class Book(models.Model):
    """Something with an author."""

    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    title = models.TextField(db_index=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
