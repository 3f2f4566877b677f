"""Columns, rows by the models of this moment, a function."""

import django.contrib.postgres.fields
from django.db import migrations, models


def fill(apps, _editor):
    author = apps.get_model("drv_django", "Author")
    author.objects.bulk_create(author(name=f"author {i}") for i in range(1, 6))
    author.objects.filter(name__gt="author 3").update(mood="glad")


class Migration(migrations.Migration):
    dependencies = [("drv_django", "0001_initial")]
    operations = [
        migrations.AddField("Author", "mood", models.CharField(default="sad", max_length=10)),
        migrations.AddField("Author", "tags", django.contrib.postgres.fields.ArrayField(models.TextField(), default=list)),
        migrations.AddField("Author", "data", models.JSONField(null=True)),
        migrations.AddField("Book", "price", models.DecimalField(decimal_places=2, default=0, max_digits=8)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunSQL(
            "create function drv_django_shout(text) returns text language sql as $$ select upper($1) || '!' $$",
            "drop function drv_django_shout"),
    ]
