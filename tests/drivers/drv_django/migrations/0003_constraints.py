"""What no transaction may hold: an index made concurrently."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("drv_django", "0002_rows")]
    operations = [
        migrations.AlterField("Author", "name", models.CharField(max_length=80, unique=True)),
        migrations.AlterField("Book", "title", models.TextField(db_index=True)),
        AddIndexConcurrently("Author", models.Index(fields=["mood"], name="drv_django_mood")),
    ]
