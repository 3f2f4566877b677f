"""Two tables, one of which refers to the other."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel("Author", [
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("name", models.CharField(max_length=40)),
            ("born", models.DateTimeField(null=True)),
        ]),
        migrations.CreateModel("Book", [
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("title", models.TextField()),
            ("author", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="drv_django.author")),
        ]),
    ]
